"""A real scan of the same head, mixed into the synthetic one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from medkit.transforms.synthesis.draws import Range, chance, uniform, within
from medkit.transforms.synthesis.draws import probability as checked_probability
from medkit.transforms.synthesis.normalisation import scaled
from medkit.transforms.synthesis.step import Step

if TYPE_CHECKING:
    from torch import Generator

    from medkit.transforms.synthesis.sample import Sample

__all__ = ["RealImage", "RealImageParameters"]


@dataclass(frozen=True)
class RealImageParameters:
    """Of one sample.

    Args:
        weight: of the real scan; the synthetic image has the rest.
    """

    weight: float


class RealImage(Step[RealImageParameters]):
    """Weigh a real scan in, as Brain-ID does (Liu et al. 2024, https://arxiv.org/abs/2311.16914), where there is one.

    A real scan brings texture, vessels and whatever else a map has no label for. Weight 1 is the scan itself.
    Lesions are laid over it in full.

    Args:
        probability: how often.
        weight: of the scan, 0 to 1, where it is mixed in.
        low: percent of its voxels that become 0.
        high: percent of its voxels that become less than 1.
    """

    parameters_type = RealImageParameters

    def __init__(
        self, probability: float = 0.5, weight: Range = (0.0, 1.0), low: float = 0.5, high: float = 99.5
    ) -> None:
        self.probability = checked_probability("probability", probability)
        self.weight = within("weight", weight, 0, 1)
        self.percentiles = within("low and high", (low, high), 0, 100)

    @property
    def settings(self) -> dict[str, Any]:
        """The percentiles."""
        return {"percentiles": list(self.percentiles)}

    def draw(self, rng: Generator) -> RealImageParameters:
        """Whether there is a real scan or not."""
        mixed, weight = chance(rng, self.probability), uniform(rng, self.weight)
        return RealImageParameters(weight if mixed else 0.0)

    def apply(self, sample: Sample, parameters: RealImageParameters) -> Sample:
        """The weighted mean of both, lesions apart; the sample as it was where there is no scan."""
        if sample.real is None or parameters.weight == 0:
            return sample
        real = scaled(sample.real, *self.percentiles)
        weight = real.new_tensor(parameters.weight)
        if sample.lesions is not None:
            weight = weight * (1 - sample.lesions)
        return sample.with_image(torch.lerp(sample.needed_image, real, weight))
