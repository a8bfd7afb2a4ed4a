"""Where samples lie along an axis, for linear interpolation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Places"]


@dataclass(frozen=True)
class Places:
    """Samples along an axis; the arguments are one-dimensional and of one length.

    Args:
        low: index of the voxel before each sample, int32.
        high: index of the voxel behind, its neighbour, or the same where a sample meets a voxel; int32.
        weight: of the voxel behind, from 0 to below 1, float32.
    """

    low: Tensor
    high: Tensor
    weight: Tensor

    @classmethod
    def of(cls, positions: Tensor, size: int) -> Places:
        """Samples at float64 positions in voxels; those off the axis, of ``size`` voxels, move to its ends."""
        inside = positions.clamp(0, size - 1)
        low = inside.floor()
        return cls(low.int(), inside.ceil().int(), (inside - low).float())

    def __len__(self) -> int:
        return len(self.low)

    def to(self, device: torch.device) -> Places:
        """The same on a device."""
        return Places(self.low.to(device), self.high.to(device), self.weight.to(device))
