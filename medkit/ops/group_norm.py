"""Group normalisation of channels-last images on a CPU, by the compiled kernel, ``csrc/group_norm.c``."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
from torch import Tensor

from medkit.ops import native

__all__ = ["group_norm", "is_served"]

_TYPES = {dtype: i for i, dtype in enumerate((torch.float32, torch.bfloat16))}
# Each part has its own sums, which take time to clear and to add up; there are enough for all cores at any size.
_VOXELS_OF_A_PART, _MOST_PARTS = 256, 64
_LEAST_WIDTH = 64  # elements that the kernel takes at a time, unless channels are more


def is_served(x: Tensor) -> bool:
    """Whether :func:`group_norm` takes ``x``, which PyTorch would copy to contiguous memory and leave there.

    Inference only, and outside of ``torch.compile`` and exports: to those PyTorch's own operator is known. A single
    voxel is left to PyTorch as well, which refuses it.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        return False
    if x.ndim not in (4, 5) or x.device.type != "cpu" or x.dtype not in _TYPES:
        return False
    in_last = x.is_contiguous(memory_format=_last(x)) and not x.is_contiguous()
    several = x.numel() > x.shape[0] * x.shape[1]
    return in_last and several and native.library() is not None


def group_norm(x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Each group of channels of each sample less its mean, over its standard deviation (Wu & He, arXiv:1803.08494).

    A group for each channel makes it an instance norm.

    Sums are in float64, the rest in float32, rounded once.

    Args:
        x: ``(B, C, H, W)`` or ``(B, C, D, H, W)``, channels-last, float32 or bfloat16; see :func:`is_served`.
        groups: of C / groups channels each.
        weight: ``(C,)`` to multiply by, or ``None``.
        bias: ``(C,)`` to add, or ``None``.
        eps: added to the variance.

    Returns:
        Like ``x``, channels-last.
    """
    channels = x.shape[1]
    weight = torch.ones(channels) if weight is None else weight
    bias = torch.zeros(channels) if bias is None else bias
    result: Tensor = _group_norm(x, groups, weight, bias, eps)
    return result


@torch.library.custom_op("medkit::group_norm_channels_last", mutates_args=())
def _group_norm(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    x = x.contiguous(memory_format=_last(x))
    weight, bias = weight.float().contiguous(), bias.float().contiguous()
    batch, channels = x.shape[:2]
    voxels = x[0, 0].numel()
    parts = min(_MOST_PARTS, 1 + voxels // _VOXELS_OF_A_PART)
    result = torch.empty_like(x)
    width = channels * max(1, _LEAST_WIDTH // channels)
    sums = torch.empty(batch, parts, 2, width, dtype=torch.float64)
    tables = torch.empty(batch, 3, width)
    _kernel()(
        x.data_ptr(), result.data_ptr(), _TYPES[x.dtype], weight.data_ptr(), bias.data_ptr(), eps, batch,
        voxels, channels, groups, parts, width, sums.data_ptr(), tables.data_ptr(), native.thread_count(),
    )  # fmt: skip
    return result


@_group_norm.register_fake
def _fake(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return torch.empty_like(x, memory_format=_last(x))


def _last(x: Tensor) -> torch.memory_format:
    return torch.channels_last if x.ndim == 4 else torch.channels_last_3d


@cache
def _kernel() -> Any:
    kernel = native.library().medkit_group_norm  # type: ignore[union-attr]
    pointer, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
    kernel.argtypes = [
        pointer, pointer, number, pointer, pointer, ctypes.c_double, *[size] * 6, pointer, pointer, number,
    ]  # fmt: skip
    kernel.restype = None
    return kernel
