"""Gamma: contrast shifted towards the dark or the bright."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medkit.transforms.synthesis.draws import normal, within
from medkit.transforms.synthesis.step import Step

if TYPE_CHECKING:
    from torch import Generator

    from medkit.transforms.synthesis.sample import Sample

__all__ = ["Gamma", "GammaParameters"]

_LEAST_SCALE = 1e-6


@dataclass(frozen=True)
class GammaParameters:
    """Of one sample.

    Args:
        exponent: above 0.
    """

    exponent: float


class Gamma(Step[GammaParameters]):
    """Raise the image, brought to at most 1, to a power whose logarithm is normal (Billot et al. 2023, section 3.2).

    MONAI's ``RandAdjustContrast`` draws the power evenly, so that brighter images are rarer than darker ones.

    Args:
        log_std: standard deviation of the power's logarithm.
    """

    parameters_type = GammaParameters

    def __init__(self, log_std: float = 0.4) -> None:
        self.log_std = within("log_std", (0, log_std), 0)[1]

    def draw(self, rng: Generator) -> GammaParameters:
        """Above 1 as often as below."""
        return GammaParameters(math.exp(normal(rng, self.log_std)))

    def apply(self, sample: Sample, parameters: GammaParameters) -> Sample:
        """An image from 0 to 1."""
        image = sample.needed_image
        return sample.with_image((image / image.amax().clamp_min(_LEAST_SCALE)).pow_(parameters.exponent))
