"""A field of view that leaves a part of the head out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from medkit.transforms.synthesis.draws import Range, chance, uniform, within
from medkit.transforms.synthesis.draws import probability as checked_probability
from medkit.transforms.synthesis.step import Step

if TYPE_CHECKING:
    from torch import Generator

    from medkit.transforms.synthesis.sample import Sample

__all__ = ["FieldOfView", "FieldOfViewParameters"]

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class FieldOfViewParameters:
    """Of one sample.

    Args:
        below: part of each axis that is missing at its beginning.
        above: part of each axis that is missing at its end.
    """

    below: Triple
    above: Triple


class FieldOfView(Step[FieldOfViewParameters]):
    """Set image, labels and lesions to 0 beyond a box, as a scan is that was brought to a larger grid.

    Args:
        probability: of each axis to be cut.
        largest: part of an axis that is missing at either end, at most; below one half.
    """

    parameters_type = FieldOfViewParameters

    def __init__(self, probability: float = 0.15, largest: Range = (0.0, 0.25)) -> None:
        self.probability = checked_probability("probability", probability)
        self.largest = within("largest", largest, 0, 0.49)

    def draw(self, rng: Generator) -> FieldOfViewParameters:
        """Each axis on its own, and both of its ends."""
        cut = [chance(rng, self.probability) for _ in range(3)]
        below = [uniform(rng, self.largest) * now for now in cut]
        above = [uniform(rng, self.largest) * now for now in cut]
        return FieldOfViewParameters((below[0], below[1], below[2]), (above[0], above[1], above[2]))

    def apply(self, sample: Sample, parameters: FieldOfViewParameters) -> Sample:
        """Image, labels and lesions inside the box."""
        if not any(parameters.below) and not any(parameters.above):
            return sample
        box = tuple(
            slice(int(below * length), length - int(above * length))
            for below, above, length in zip(
                parameters.below, parameters.above, sample.labels.shape, strict=True
            )
        )
        kept = torch.zeros_like(sample.labels, dtype=torch.bool)
        kept[box] = True
        return sample.within(kept)
