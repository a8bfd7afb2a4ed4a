"""The Haar transform by the compiled kernel, ``csrc/haar.c``."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from medkit.ops import native

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["is_available", "transform"]

_TYPES = {dtype: i for i, dtype in enumerate((torch.float32, torch.float64, torch.bfloat16, torch.float16))}


def is_available() -> bool:
    """Whether the kernel was compiled."""
    return native.library() is not None


def transform(volume: Tensor, bands: Tensor, *, inverse: bool) -> None:
    """Overwrite ``bands`` by the transform of ``volume``, or ``volume`` by the inverse of ``bands``.

    Args:
        volume: ``(B, C, H, W)`` or ``(B, C, D, H, W)``, contiguous, on the CPU.
        bands: of the shape that :func:`medkit.ops.haar.haar_dwt` gives, of the same type, contiguous.
        inverse: whether ``volume`` is written.
    """
    written = volume if inverse else bands
    batch, channels, *sizes = volume.shape
    depth, height, width = [1, *sizes][-3:]
    _kernel()(
        volume.data_ptr(), bands.data_ptr(), inverse, _TYPES[volume.dtype], written.nbytes,
        batch, channels, depth, height, width, len(sizes), native.thread_count(),
    )  # fmt: skip


@cache
def _kernel() -> Any:
    kernel = native.library().medkit_haar  # type: ignore[union-attr]
    pointer, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
    kernel.argtypes = [pointer] * 2 + [number] * 2 + [size] * 6 + [number] * 2
    kernel.restype = None
    return kernel
