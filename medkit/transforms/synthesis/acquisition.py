"""The scan: slices of their own number, thickness and spacing, with the faults of a scan, brought back to 1 mm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch

from medkit.errors import UsageError
from medkit.transforms.synthesis.chain import Chain
from medkit.transforms.synthesis.resolution import Axis, Resolution, refill_matrix, slice_matrix
from medkit.transforms.synthesis.separable import along
from medkit.transforms.synthesis.step import Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor

    from medkit.transforms.synthesis.sample import Sample

__all__ = ["Acquisition", "AcquisitionParameters"]


@dataclass(frozen=True)
class AcquisitionParameters:
    """Of one sample.

    Args:
        axes: how each is acquired.
        faults: parameters of each step on the acquired grid.
    """

    axes: tuple[Axis, Axis, Axis]
    faults: tuple[Any, ...]


class Acquisition(Step[AcquisitionParameters]):
    """Sample the head through a slice profile, spoil what was sampled, and resample it to the grid.

    Noise and ghosts arise on the acquired grid and are interpolated with the rest: noise drawn at 1 mm and added to
    thick slices would look like no scan's. MONAI's ``RandSimulateLowResolution`` samples without a slice profile, along
    all axes alike.

    Args:
        resolution: draws the axes.
        faults: steps on the acquired image, such as :class:`KSpaceNoise` and :class:`Ghosts`.
    """

    parameters_type = AcquisitionParameters

    def __init__(self, resolution: Resolution, faults: Sequence[Step[Any]] = ()) -> None:
        self.resolution = resolution
        self.faults = Chain(faults)

    def draw(self, rng: Generator) -> AcquisitionParameters:
        """The axes, then each fault."""
        return AcquisitionParameters(self.resolution.draw(rng), self.faults.draw(rng))

    def apply(self, sample: Sample, parameters: AcquisitionParameters) -> Sample:
        """An image on the same grid; labels stay those of the grid."""
        size = sample.needed_image.shape
        acquired = _along_each(sample.needed_image, parameters.axes, size, slice_matrix)
        spoilt = self.faults.apply(replace(sample, image=acquired), parameters.faults)
        return sample.with_image(_along_each(spoilt.needed_image, parameters.axes, size, refill_matrix))

    def record(self, parameters: AcquisitionParameters) -> Any:
        """``axes`` and ``faults``."""
        return {
            "axes": [asdict(axis) for axis in parameters.axes],
            "faults": self.faults.record(parameters.faults),
        }

    def parameters_from(self, record: Any) -> AcquisitionParameters:
        """The parameters that a record tells.

        Raises:
            UsageError: it is not of this step.
        """
        known = isinstance(record, Mapping) and set(record) == {"axes", "faults"}
        expected = {field.name for field in fields(Axis)}
        if not known or len(record["axes"]) != 3 or any(set(axis) != expected for axis in record["axes"]):
            raise UsageError(
                f"record of Acquisition: expected three axes with {sorted(expected)}, and faults, got {record!r}; "
                "replay it with the steps that made it"
            )
        axes = [Axis(**axis) for axis in record["axes"]]
        return AcquisitionParameters(
            (axes[0], axes[1], axes[2]), self.faults.parameters_from(record["faults"])
        )


def _along_each(
    image: Tensor, axes: tuple[Axis, ...], size: Sequence[int], matrix: Callable[[Axis, int], Tensor]
) -> Tensor:
    for number, (axis, length) in enumerate(zip(axes, size, strict=True)):
        if not axis.fine:
            image = along(image, matrix(axis, length).to(image.device, torch.float32), number)
    return image
