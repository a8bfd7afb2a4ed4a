"""The brain alone, as a tool would have cut it out: more or less tightly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from medkit.transforms.synthesis.draws import Range, chance, integer, whole_within
from medkit.transforms.synthesis.draws import probability as checked_probability
from medkit.transforms.synthesis.step import Step

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from medkit.transforms.synthesis.label_scheme import LabelScheme
    from medkit.transforms.synthesis.sample import Sample

__all__ = ["SkullStripping", "SkullStrippingParameters"]


@dataclass(frozen=True)
class SkullStrippingParameters:
    """Of one sample.

    Args:
        stripped: or left as it is.
        fluid: whether the fluid around the brain stays.
        closing: voxels across which the mask's gaps are filled, sulci among them.
        dilation: voxels about the mask that stay too.
    """

    stripped: bool
    fluid: bool
    closing: int
    dilation: int


class SkullStripping(Step[SkullStrippingParameters]):
    """Set image, labels and lesions to 0 outside of the brain.

    It comes after the acquisition, as in life: what was cut away is exactly 0 and has no noise.

    Args:
        scheme: tells what is brain, and what is fluid about it.
        probability: how often.
        fluid_probability: of the fluid to stay, where the skull is stripped.
        closing: voxels across which the mask's gaps are filled: tools give masks that are smoother than the cortex.
        dilation: voxels by which the mask is wider, where the skull is stripped.
    """

    parameters_type = SkullStrippingParameters

    def __init__(
        self,
        scheme: LabelScheme,
        probability: float = 0.3,
        fluid_probability: float = 0.5,
        closing: Range = (0, 4),
        dilation: Range = (0, 3),
    ) -> None:
        self.scheme = scheme
        self.probability = checked_probability("probability", probability)
        self.fluid_probability = checked_probability("fluid_probability", fluid_probability)
        self.closing, self.dilation = (
            whole_within("closing", closing, 0),
            whole_within("dilation", dilation, 0),
        )

    @property
    def settings(self) -> dict[str, Any]:
        """The scheme."""
        return {"scheme": self.scheme.digest}

    def draw(self, rng: Generator) -> SkullStrippingParameters:
        """Each on its own."""
        return SkullStrippingParameters(
            stripped=chance(rng, self.probability),
            fluid=chance(rng, self.fluid_probability),
            closing=integer(rng, self.closing),
            dilation=integer(rng, self.dilation),
        )

    def apply(self, sample: Sample, parameters: SkullStrippingParameters) -> Sample:
        """Image, labels and lesions inside the mask."""
        if not parameters.stripped:
            return sample
        regions = ("brain", "fluid") if parameters.fluid else ("brain",)
        kept = _dilated(self.scheme.mask(sample.labels, regions), parameters.closing + parameters.dilation)
        kept = ~_dilated(~kept, parameters.closing)
        return sample.within(kept)


def _dilated(mask: Tensor, voxels: int) -> Tensor:
    """By a cube, one axis after the other."""
    if voxels == 0:
        return mask
    wide = mask.to(torch.float32)
    for _ in range(3):
        wide = functional.max_pool1d(wide, 2 * voxels + 1, stride=1, padding=voxels).permute(2, 0, 1)
    return wide > 0
