"""Instance normalisation that keeps the layout of its input (Ulyanov et al., arXiv:1607.08022).

On a CPU, PyTorch's own copies a channels-last image to contiguous memory and leaves it there, of which the next
convolution makes another copy: in bfloat16 together slower than many a convolution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai.networks.layers import Norm
from torch import nn

from medkit.ops.group_norm import group_norm, is_served

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["NORM", "InstanceNorm2d", "InstanceNorm3d"]

_NAME = "instance_in_layout"
# For MONAI's blocks.
NORM = (_NAME, {"affine": True})


class InstanceNorm2d(nn.InstanceNorm2d):
    """``torch.nn.InstanceNorm2d``, with its arguments and its weights."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same."""
        return _in_layout(self, x) if _is_kept(self, x) else super().forward(x)


class InstanceNorm3d(nn.InstanceNorm3d):
    """``torch.nn.InstanceNorm3d``, with its arguments and its weights."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, D, H, W)`` to the same."""
        return _in_layout(self, x) if _is_kept(self, x) else super().forward(x)


def _for_axes(spatial_dims: int) -> type[nn.Module]:
    return InstanceNorm2d if spatial_dims == 2 else InstanceNorm3d


Norm.add_factory_callable(_NAME, _for_axes, "instance norm that keeps the layout of its input")


def _is_kept(norm: InstanceNorm2d | InstanceNorm3d, x: Tensor) -> bool:
    return is_served(x) and not norm.track_running_stats


def _in_layout(norm: InstanceNorm2d | InstanceNorm3d, x: Tensor) -> Tensor:
    return group_norm(x, norm.num_features, norm.weight, norm.bias, norm.eps)
