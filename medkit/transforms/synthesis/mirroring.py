"""The head in a mirror: left becomes right, and is called so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from medkit.transforms.synthesis.draws import chance
from medkit.transforms.synthesis.draws import probability as checked_probability
from medkit.transforms.synthesis.label_scheme import looked_up
from medkit.transforms.synthesis.step import Step

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from medkit.transforms.synthesis.label_scheme import LabelScheme
    from medkit.transforms.synthesis.sample import Sample

__all__ = ["Mirroring", "MirroringParameters"]


@dataclass(frozen=True)
class MirroringParameters:
    """Of one sample.

    Args:
        mirrored: or left as it is.
    """

    mirrored: bool


class Mirroring(Step[MirroringParameters]):
    """Reverse the axis to the right and swap the values of left and right.

    MONAI's ``RandFlip`` reverses the axis and leaves the names, so that what is on the right is still called left.

    Args:
        scheme: tells the sides.
        probability: how often.
    """

    parameters_type = MirroringParameters

    def __init__(self, scheme: LabelScheme, probability: float = 0.5) -> None:
        self.scheme = scheme
        self.probability = checked_probability("probability", probability)

    @property
    def settings(self) -> dict[str, Any]:
        """The scheme."""
        return {"scheme": self.scheme.digest}

    def draw(self, rng: Generator) -> MirroringParameters:
        """Once for the whole sample."""
        return MirroringParameters(chance(rng, self.probability))

    def apply(self, sample: Sample, parameters: MirroringParameters) -> Sample:
        """All there is of the sample, image included."""
        if not parameters.mirrored:
            return sample
        table = self.scheme.opposite_table(sample.labels.device)
        return replace(
            sample,
            labels=looked_up(table, sample.labels.flip(0)),
            image=_reversed(sample.image),
            real=_reversed(sample.real),
            lesions=_reversed(sample.lesions),
        )


def _reversed(volume: Tensor | None) -> Tensor | None:
    return None if volume is None else volume.flip(0)
