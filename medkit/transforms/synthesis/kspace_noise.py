"""Noise of the receiver: white and complex in k-space, of which a scan shows the magnitude."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from medkit.transforms.synthesis.draws import Range, chance, seed, uniform, within
from medkit.transforms.synthesis.draws import probability as checked_probability
from medkit.transforms.synthesis.step import Step

if TYPE_CHECKING:
    from torch import Generator

    from medkit.transforms.synthesis.sample import Sample

__all__ = ["KSpaceNoise", "KSpaceNoiseParameters"]


@dataclass(frozen=True)
class KSpaceNoiseParameters:
    """Of one sample.

    Args:
        std: of the real and of the imaginary part each, in parts of the image's maximum.
        seed: of the voxels' noise.
    """

    std: float
    seed: int


class KSpaceNoise(Step[KSpaceNoiseParameters]):
    """Add complex white noise and take the magnitude, which makes it Rician (Gudbjartsson and Patz 1995).

    The noise is added to the image: the unitary Fourier transform of white noise is white noise, so k-space need not be
    visited. MONAI's ``RandRicianNoise`` does the same with the random numbers of numpy.

    Args:
        probability: how often.
        std: in parts of the image's maximum.
    """

    parameters_type = KSpaceNoiseParameters

    def __init__(self, probability: float = 0.8, std: Range = (0.0, 0.06)) -> None:
        self.probability = checked_probability("probability", probability)
        self.std = within("std", std, 0)

    def draw(self, rng: Generator) -> KSpaceNoiseParameters:
        """How strong it is, nothing included."""
        noisy, std = chance(rng, self.probability), uniform(rng, self.std)
        return KSpaceNoiseParameters(std if noisy else 0.0, seed(rng))

    def apply(self, sample: Sample, parameters: KSpaceNoiseParameters) -> Sample:
        """The magnitude of image and noise."""
        image = sample.needed_image
        if parameters.std == 0:
            return sample
        rng = torch.Generator(image.device).manual_seed(parameters.seed)
        std = parameters.std * image.amax()
        real = torch.randn(image.shape, generator=rng, device=image.device).mul_(std).add_(image)
        imaginary = torch.randn(image.shape, generator=rng, device=image.device).mul_(std)
        return sample.with_image(torch.hypot(real, imaginary))
