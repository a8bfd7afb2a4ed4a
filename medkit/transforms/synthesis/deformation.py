"""Where the head lies and how it is shaped: an affine map and a smooth deformation, in one interpolation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch

from medkit.errors import UsageError
from medkit.transforms.synthesis.draws import (
    Range,
    chance,
    integer,
    probability,
    seed,
    uniform,
    whole_within,
    within,
)
from medkit.transforms.synthesis.label_sampling import linear_values, nearest_labels, voted_labels
from medkit.transforms.synthesis.smooth_field import normal_coefficients, spread_out
from medkit.transforms.synthesis.step import Step

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from medkit.transforms.synthesis.label_scheme import LabelScheme
    from medkit.transforms.synthesis.sample import Sample, Size

__all__ = ["Deformation", "DeformationParameters"]

Triple = tuple[float, float, float]
# Of the distance between control points: below 1 / 2.48 a cubic B-spline in 3D cannot fold (Choi and Lee 2000,
# https://doi.org/10.1006/gmod.1999.0510).
_NO_FOLD = 0.4
_INTERPOLATIONS = {"nearest": nearest_labels, "vote": voted_labels}


@dataclass(frozen=True)
class DeformationParameters:
    """Of one sample.

    Args:
        rotation: degrees about the axes to the right, to the front and up, applied in this order.
        scaling: how much larger the head becomes along each axis.
        shearing: of the first axis by the second, the first by the third, and the second by the third.
        translation: of the head, in mm.
        displacement: standard deviation of the control points' displacement, in mm.
        points: control points along each axis.
        seed: of their displacements.
    """

    rotation: Triple
    scaling: Triple
    shearing: Triple
    translation: Triple
    displacement: float
    points: int
    seed: int


class Deformation(Step[DeformationParameters]):
    """Turn, stretch, shear, shift and bend the head, and take a box about the middle of its grid.

    The bent place of a voxel is a cubic B-spline of coarse control points, whose displacements are normal, and cut where
    the map could fold: so no part of the head is lost or seen twice. MONAI's ``Rand3DElastic`` draws at every voxel and
    blurs, and may fold. The affine ranges and the displacement are those of SynthSeg's defaults, nearly.

    Args:
        size: of the box, in voxels; that of the labels if absent. What lies beyond the labels is background.
        rotation: degrees about each axis.
        scaling: factor along each axis.
        shearing: each of three.
        translation: mm along each axis; one range for all, or three.
        far: another such range or three, for a part of the heads.
        far_probability: of a head to be one of those.
        displacement: standard deviation in mm, of which the axes have a part each.
        points: control points along each axis, at least 4: few bend widely, many bend locally.
        labels: ``nearest``, or ``vote`` for the label with most of the linear weights, smoother and slower.
        centred_by: tells what is brain; the box lies about its middle, and about the grid's if this is absent.

    Raises:
        UsageError: ranges that are none, or an unknown way to interpolate.
    """

    parameters_type = DeformationParameters

    def __init__(
        self,
        size: Sequence[int] | None = None,
        rotation: Range = (-15.0, 15.0),
        scaling: Range = (0.85, 1.15),
        shearing: Range = (-0.02, 0.02),
        translation: Range | Sequence[Range] = (-10.0, 10.0),
        far: Range | Sequence[Range] = (0.0, 0.0),
        far_probability: float = 0.0,
        displacement: Range = (0.0, 4.0),
        points: Range = (6, 12),
        labels: Literal["nearest", "vote"] = "nearest",
        centred_by: LabelScheme | None = None,
    ) -> None:
        self.size = None if size is None else _checked_size(size)
        self.rotation = within("rotation", rotation, -180, 180)
        self.scaling = within("scaling", scaling, 0.1, 10)
        self.shearing = within("shearing", shearing, -1, 1)
        self.translation, self.far = _by_axis("translation", translation), _by_axis("far", far)
        self.far_probability = probability("far_probability", far_probability)
        self.displacement = within("displacement", displacement, 0)
        self.points = whole_within("points", points, 4)
        if labels not in _INTERPOLATIONS:
            raise UsageError(f"labels: expected one of {list(_INTERPOLATIONS)}, got {labels!r}; correct it")
        self.labels = labels
        self.centred_by = centred_by

    @property
    def settings(self) -> dict[str, Any]:
        """The box, what it lies about, and the way to interpolate."""
        return {
            "size": None if self.size is None else list(self.size),
            "labels": self.labels,
            "centred_by": None if self.centred_by is None else self.centred_by.digest,
        }

    def draw(self, rng: Generator) -> DeformationParameters:
        """Each number apart from the others, all evenly within their ranges."""
        away = self.far_probability > 0 and chance(rng, self.far_probability)
        return DeformationParameters(
            rotation=_each(rng, [self.rotation] * 3),
            scaling=_each(rng, [self.scaling] * 3),
            shearing=_each(rng, [self.shearing] * 3),
            translation=_each(rng, self.far if away else self.translation),
            displacement=uniform(rng, self.displacement),
            points=integer(rng, self.points),
            seed=seed(rng),
        )

    def apply(self, sample: Sample, parameters: DeformationParameters) -> Sample:
        """The same map for labels, real scan and lesions.

        Raises:
            UsageError: there is an image already, which would be interpolated a second time.
        """
        if sample.image is not None:
            raise UsageError(
                "Deformation: expected labels alone, got an image too; put it before Intensities"
            )
        labels = sample.labels
        size = self.size or (labels.shape[0], labels.shape[1], labels.shape[2])
        places = source_places(parameters, size, self._centre(labels, size), labels.device)
        return replace(
            sample,
            labels=_INTERPOLATIONS[self.labels](sample.labels, places),
            real=None if sample.real is None else linear_values(sample.real, places),
            lesions=None if sample.lesions is None else linear_values(sample.lesions, places),
        )

    def _centre(self, labels: Tensor, size: Size) -> Triple:
        """Of the brain's extent or of the grid, to 1 mm: without deformation no voxel of the box lies between others."""
        first, last = torch.zeros(3), torch.tensor(labels.shape) - 1.0
        if self.centred_by is not None:
            brain = self.centred_by.mask(labels[::2, ::2, ::2], ["brain"]).nonzero()
            if len(brain):
                first, last = 2.0 * brain.amin(0).cpu(), 2.0 * brain.amax(0).cpu()
        half = (torch.tensor(size) - 1) / 2
        a, b, c = (((first + last) / 2 - half).round() + half).tolist()
        return a, b, c


def _by_axis(name: str, given: Range | Sequence[Range]) -> tuple[Range, Range, Range]:
    ranges: Sequence[Any] = given if isinstance(given[0], Sequence) else [given] * 3
    if len(ranges) != 3:
        raise UsageError(
            f"{name}: expected one range, or one for each of three axes, got {given!r}; correct it"
        )
    a, b, c = (within(name, bounds) for bounds in ranges)
    return a, b, c


def source_places(
    parameters: DeformationParameters, size: Size, centre: Triple, device: torch.device
) -> Tensor:
    """Where in the source, about a centre there, each voxel is taken from: ``(*size, 3)`` in voxels, float32.

    The affine part goes into the spline's coefficients, for a B-spline through points on a line is that line.
    """
    points = (parameters.points,) * 3
    gaps = [(length - 1) / (parameters.points - 3) for length in size]
    ticks = [
        (torch.arange(parameters.points, dtype=torch.float64) - 1) * gap - (length - 1) / 2
        for gap, length in zip(gaps, size, strict=True)
    ]
    bent = torch.stack(torch.meshgrid(*ticks, indexing="ij"), dim=-1)
    if parameters.displacement > 0:
        limit = _NO_FOLD * torch.tensor(gaps, dtype=torch.float64)
        moved = parameters.displacement * normal_coefficients(parameters.seed, points, 3)
        bent = bent + moved.clamp(-limit, limit)
    back = torch.linalg.inv(_linear(parameters))
    shifted = bent - torch.tensor(parameters.translation, dtype=torch.float64)
    return spread_out(shifted @ back.T + torch.tensor(centre, dtype=torch.float64), size, device)


def _linear(parameters: DeformationParameters) -> Tensor:
    """Of the head's points to where they come to lie: scaled, sheared, then turned."""
    shear = torch.eye(3, dtype=torch.float64)
    shear[0, 1], shear[0, 2], shear[1, 2] = parameters.shearing
    turn = torch.eye(3, dtype=torch.float64)
    for axis, degrees in enumerate(parameters.rotation):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        step = torch.eye(3, dtype=torch.float64)
        step[one, one], step[two, two], step[one, two], step[two, one] = cosine, cosine, -sine, sine
        turn = step @ turn
    return turn @ shear @ torch.diag(torch.tensor(parameters.scaling, dtype=torch.float64))


def _each(rng: Generator, ranges: Sequence[Range]) -> Triple:
    a, b, c = (uniform(rng, bounds) for bounds in ranges)
    return a, b, c


def _checked_size(size: Sequence[int]) -> Size:
    lengths = size if isinstance(size, Sequence) else ()
    if len(lengths) != 3 or any(type(length) is not int or length < 2 for length in lengths):
        raise UsageError(f"size: expected three whole numbers of at least 2, got {size!r}; correct it")
    return lengths[0], lengths[1], lengths[2]
