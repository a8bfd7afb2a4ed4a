"""Intensities from 0 to 1, whatever they were."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from medkit.transforms.synthesis.draws import within
from medkit.transforms.synthesis.step import Step

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from medkit.transforms.synthesis.sample import Sample

__all__ = ["Normalisation", "NormalisationParameters", "scaled"]

_ENOUGH = 2**17  # voxels that percentiles are taken of: an evenly spaced part of larger images
_LEAST_RANGE = 1e-6


@dataclass(frozen=True)
class NormalisationParameters:
    """Of one sample: none."""


class Normalisation(Step[NormalisationParameters]):
    """Bring two percentiles to 0 and 1 and cut what lies beyond.

    MONAI's ``ScaleIntensityRangePercentiles`` sorts all voxels; here an evenly spaced part of them has to do, which for
    a head moves the percentiles by less than a hundredth of the range.

    Args:
        low: percent of voxels that become 0.
        high: percent of voxels that become less than 1.
    """

    parameters_type = NormalisationParameters

    def __init__(self, low: float = 0.5, high: float = 99.5) -> None:
        self.percentiles = within("low and high", (low, high), 0, 100)

    @property
    def settings(self) -> dict[str, Any]:
        """The percentiles."""
        return {"percentiles": list(self.percentiles)}

    def draw(self, rng: Generator) -> NormalisationParameters:
        """Nothing is drawn."""
        return NormalisationParameters()

    def apply(self, sample: Sample, parameters: NormalisationParameters) -> Sample:
        """An image from 0 to 1; one that is the same all over becomes 0."""
        return sample.with_image(scaled(sample.needed_image, *self.percentiles))


def scaled(image: Tensor, low: float, high: float) -> Tensor:
    """An image with two percentiles at 0 and 1, cut there."""
    voxels = image.flatten()
    part = voxels[:: _stride(len(voxels))].sort().values
    bottom, top = (part[round(percent / 100 * (len(part) - 1))] for percent in (low, high))
    return ((image - bottom) / (top - bottom).clamp_min(_LEAST_RANGE)).clamp_(0, 1)


def _stride(number: int) -> int:
    """Without a common divisor with the sizes: one that divides them sees a few planes of the image and no others."""
    return next(stride for stride in count(max(1, -(-number // _ENOUGH))) if math.gcd(stride, number) == 1)
