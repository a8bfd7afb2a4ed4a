"""Group normalisation that keeps the layout of its input (Wu & He, arXiv:1803.08494).

On a CPU, PyTorch's own sums a channels-last image voxel by voxel in float32, and loses digits on a large one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai.networks.layers import Norm
from torch import nn

from medkit.ops.group_norm import group_norm, is_served

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["NORM", "GroupNorm"]

NORM = "group_in_layout"  # for MONAI's networks: norm=(NORM, {"num_groups": 8})


class GroupNorm(nn.GroupNorm):
    """``torch.nn.GroupNorm``, with its arguments and its weights."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, ...)`` to the same."""
        if is_served(x):
            return group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
        return super().forward(x)


Norm.add_factory_callable(
    NORM, lambda spatial_dims: GroupNorm, "group norm that keeps the layout of its input"
)
