"""Instance normalisation that keeps the layout of its input (Ulyanov et al., arXiv:1607.08022).

On a CPU, PyTorch's own copies a channels-last image to contiguous memory and leaves it there, of which the next
convolution makes another copy: in bfloat16 together slower than many a convolution. A group norm with a group for each
channel is the same function and keeps the layout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from monai.networks.layers import Norm
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["NORM", "InstanceNorm2d", "InstanceNorm3d"]

_NAME = "instance_in_layout"
# For MONAI's blocks.
NORM = (_NAME, {"affine": True})
# PyTorch's group norm adds the voxels of a channels-last image up one by one in float32. Up to so many of them it stays
# within the rounding of bfloat16, with 2**20 it is at twice that; float32 would lose digits at any size.
_MOST_VOXELS = 2**16


class InstanceNorm2d(nn.InstanceNorm2d):
    """``torch.nn.InstanceNorm2d``, with its arguments and its weights."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same."""
        return _in_layout(self, x) if _is_served(self, x) else super().forward(x)


class InstanceNorm3d(nn.InstanceNorm3d):
    """``torch.nn.InstanceNorm3d``, with its arguments and its weights."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, D, H, W)`` to the same."""
        return _in_layout(self, x) if _is_served(self, x) else super().forward(x)


def _for_axes(spatial_dims: int) -> type[nn.Module]:
    return InstanceNorm2d if spatial_dims == 2 else InstanceNorm3d


Norm.add_factory_callable(_NAME, _for_axes, "instance norm that keeps the layout of its input")


def _is_served(norm: InstanceNorm2d | InstanceNorm3d, x: Tensor) -> bool:
    """Inference only: the gradient of a group norm is the slower one."""
    in_bfloat16 = x.dtype == torch.bfloat16 and x.device.type == "cpu" and not x.is_contiguous()
    plain = not (torch.is_grad_enabled() or norm.track_running_stats)
    return in_bfloat16 and plain and x[0, 0].numel() <= _MOST_VOXELS


def _in_layout(norm: InstanceNorm2d | InstanceNorm3d, x: Tensor) -> Tensor:
    return functional.group_norm(x, norm.num_features, norm.weight, norm.bias, norm.eps)
