"""A bias field: intensities that rise and fall smoothly over the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medkit.transforms.synthesis.draws import Range, integer, seed, uniform, whole_within, within
from medkit.transforms.synthesis.smooth_field import normal_coefficients, spread_out
from medkit.transforms.synthesis.step import Step

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor

    from medkit.transforms.synthesis.sample import Sample, Size

__all__ = ["BiasField", "BiasFieldParameters", "log_field"]


@dataclass(frozen=True)
class BiasFieldParameters:
    """Of one sample.

    Args:
        std: standard deviation of the field's logarithm at the control points.
        points: control points along each axis.
        seed: of their values.
    """

    std: float
    points: int
    seed: int


class BiasField(Step[BiasFieldParameters]):
    """Multiply the image by the exponential of a smooth normal field (Billot et al. 2023, section 3.2).

    MONAI's ``RandBiasField`` is a polynomial over the whole image, which is strongest in the corners.

    Args:
        std: of the field's logarithm, from none.
        points: control points along each axis, at least 4.
    """

    parameters_type = BiasFieldParameters

    def __init__(self, std: Range = (0.0, 0.7), points: Range = (4, 6)) -> None:
        self.std, self.points = within("std", std, 0), whole_within("points", points, 4)

    def draw(self, rng: Generator) -> BiasFieldParameters:
        """How strong, and how fine."""
        return BiasFieldParameters(uniform(rng, self.std), integer(rng, self.points), seed(rng))

    def apply(self, sample: Sample, parameters: BiasFieldParameters) -> Sample:
        """The image times the field."""
        image = sample.needed_image
        if parameters.std == 0:
            return sample
        size = (image.shape[0], image.shape[1], image.shape[2])
        return sample.with_image(log_field(parameters, size, image.device).exp_().mul_(image))


def log_field(parameters: BiasFieldParameters, size: Size, device: torch.device) -> Tensor:
    """The logarithm of the field, ``(D, H, W)``: what a network that estimates bias fields learns."""
    coefficients = normal_coefficients(parameters.seed, (parameters.points,) * 3, 1)
    return spread_out(parameters.std * coefficients, size, device)[..., 0]
