"""Lesions: blobs of irregular shape within some tissues, whose intensities :class:`Intensities` draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from medkit.transforms.synthesis.draws import Range, chance, integer, uniform, whole_within, within
from medkit.transforms.synthesis.draws import probability as checked_probability
from medkit.transforms.synthesis.step import Step

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from medkit.transforms.synthesis.label_scheme import LabelScheme
    from medkit.transforms.synthesis.sample import Sample

__all__ = ["Lesions", "LesionsParameters"]

Ball = tuple[float, float, float, float]
_EDGE = 1.0  # mm over which a lesion ends


@dataclass(frozen=True)
class LesionsParameters:
    """Of one sample.

    Args:
        ranks: of each lesion's centre among the voxels of its tissue, from 0, the first, to 1.
        blobs: of each lesion some balls that make it up: offset from the centre along each axis and radius, in mm.
    """

    ranks: tuple[float, ...]
    blobs: tuple[tuple[Ball, ...], ...]


class Lesions(Step[LesionsParameters]):
    """Mark lesions: each a union of balls about a voxel of the host tissue, cut off where that ends.

    The labels stay what they are, the anatomy as it was: what is asked of a network is to see through the lesions.

    Args:
        scheme: tells the tissues.
        hosts: tissues that lesions lie in.
        probability: of a sample to have any.
        number: of lesions, in a sample that has.
        radius: mm, of a lesion's greatest ball.
        balls: of which a lesion is made.
    """

    parameters_type = LesionsParameters

    def __init__(
        self,
        scheme: LabelScheme,
        hosts: Sequence[str] = ("white matter",),
        probability: float = 0.3,
        number: Range = (1, 8),
        radius: Range = (1.5, 10.0),
        balls: Range = (3, 7),
    ) -> None:
        self.scheme, self.hosts = scheme, tuple(hosts)
        scheme.values_of(hosts)  # which refuses unknown ones
        self.probability = checked_probability("probability", probability)
        self.number = whole_within("number", number, 1)
        self.radius = within("radius", radius, 0.5)
        self.balls = whole_within("balls", balls, 1)

    @property
    def settings(self) -> dict[str, Any]:
        """The scheme, and the tissues that lesions lie in."""
        return {"scheme": self.scheme.digest, "hosts": list(self.hosts)}

    def draw(self, rng: Generator) -> LesionsParameters:
        """Small lesions more often than large ones: the logarithm of the radius is even."""
        if not chance(rng, self.probability):
            return LesionsParameters((), ())
        count = integer(rng, self.number)
        ranks = tuple(uniform(rng, (0, 1)) for _ in range(count))
        return LesionsParameters(ranks, tuple(self._blob(rng) for _ in range(count)))

    def apply(self, sample: Sample, parameters: LesionsParameters) -> Sample:
        """With the part of each voxel that is lesion; none where the host tissue is absent."""
        if not parameters.ranks:
            return sample
        host = self.scheme.tissue_mask(sample.labels, self.hosts)
        found = host.flatten().nonzero().flatten()
        lesions = torch.zeros(host.shape, device=host.device)
        if len(found):
            for rank, blob in zip(parameters.ranks, parameters.blobs, strict=True):
                voxel = int(found[min(int(rank * len(found)), len(found) - 1)])
                _paint(lesions, voxel, blob)
        return replace(sample, lesions=lesions * host)

    def _blob(self, rng: Generator) -> tuple[Ball, ...]:
        low, high = self.radius
        largest = low * (high / low) ** uniform(rng, (0, 1))
        return tuple(self._ball(rng, largest) for _ in range(integer(rng, self.balls)))

    def _ball(self, rng: Generator, largest: float) -> Ball:
        radius = largest * uniform(rng, (0.4, 1.0))
        reach = (-0.8 * largest, 0.8 * largest)
        return uniform(rng, reach), uniform(rng, reach), uniform(rng, reach), radius


def _paint(lesions: Tensor, voxel: int, blob: tuple[Ball, ...]) -> None:
    """Add a lesion, in the box that holds it."""
    _, height, width = lesions.shape
    centre = (voxel // (height * width), voxel // width % height, voxel % width)
    reach = int(max(max(abs(x) for x in ball[:3]) + ball[3] for ball in blob) + _EDGE) + 1
    box = tuple(
        slice(max(place - reach, 0), min(place + reach + 1, length))
        for place, length in zip(centre, lesions.shape, strict=True)
    )
    ticks = [
        torch.arange(part.start, part.stop, device=lesions.device) - place
        for part, place in zip(box, centre, strict=True)
    ]
    a, b, c = torch.meshgrid(*ticks, indexing="ij")
    for x, y, z, radius in blob:
        distance = ((a - x) ** 2 + (b - y) ** 2 + (c - z) ** 2).sqrt()
        inside = ((radius - distance) / _EDGE + 0.5).clamp(0, 1)
        lesions[box] = torch.maximum(lesions[box], inside)
