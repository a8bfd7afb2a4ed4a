"""Ghosts: faint copies of the head along one axis, from lines of k-space that differ periodically."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from medkit.transforms.synthesis.draws import Range, chance, choice, integer, uniform, whole_within, within
from medkit.transforms.synthesis.draws import probability as checked_probability
from medkit.transforms.synthesis.step import Step

if TYPE_CHECKING:
    from torch import Generator

    from medkit.transforms.synthesis.sample import Sample

__all__ = ["Ghosts", "GhostsParameters"]


@dataclass(frozen=True)
class GhostsParameters:
    """Of one sample.

    Args:
        axis: the phase-encoding one, along which the copies lie.
        period: every so many lines one is weakened; so many copies come about, the head among them.
        strength: part by which it is weakened, 0 for no ghosts.
    """

    axis: int
    period: int
    strength: float


class Ghosts(Step[GhostsParameters]):
    """Weaken every so many-th line of k-space along one axis, as a pulse or a breath does.

    The line in the middle, which holds the image's mean, stays. MONAI has spikes and Gibbs' ringing, and no ghosts.

    Args:
        probability: how often.
        period: lines, at least 2.
        strength: part by which a line is weakened.
    """

    parameters_type = GhostsParameters

    def __init__(
        self, probability: float = 0.15, period: Range = (2, 6), strength: Range = (0.1, 0.5)
    ) -> None:
        self.probability = checked_probability("probability", probability)
        self.period = whole_within("period", period, 2)
        self.strength = within("strength", strength, 0, 1)

    def draw(self, rng: Generator) -> GhostsParameters:
        """Along any axis as often as along the others."""
        ghosts, axis = chance(rng, self.probability), choice(rng, 3)
        period, strength = integer(rng, self.period), uniform(rng, self.strength)
        return GhostsParameters(axis, period, strength if ghosts else 0.0)

    def apply(self, sample: Sample, parameters: GhostsParameters) -> Sample:
        """The magnitude of what is left."""
        image = sample.needed_image
        if parameters.strength == 0:
            return sample
        length = image.shape[parameters.axis]
        order = (torch.arange(length) + length // 2) % length - length // 2  # as the transform has the lines
        weakened = (order % parameters.period == 0) & (order != 0)
        gain = torch.where(weakened, 1 - parameters.strength, 1.0).to(image.device)
        shape = [length if axis == parameters.axis else 1 for axis in range(3)]
        lines = torch.fft.fft(image, dim=parameters.axis) * gain.view(shape)
        return sample.with_image(torch.fft.ifft(lines, dim=parameters.axis).abs())
