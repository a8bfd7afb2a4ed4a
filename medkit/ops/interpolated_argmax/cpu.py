"""The greatest interpolated class by the compiled kernel, ``csrc/interpolated_argmax.c``."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from medkit.ops import native

if TYPE_CHECKING:
    from torch import Tensor

    from medkit.ops.interpolated_argmax.places import Places

__all__ = ["interpolated_argmax", "is_available"]


def is_available() -> bool:
    """Whether the kernel was compiled."""
    return native.library() is not None


def interpolated_argmax(
    scores: tuple[Tensor, Tensor], labels: tuple[Tensor, Tensor], weight: float, rows: Places, columns: Places
) -> Tensor:
    """See :func:`medkit.ops.interpolated_argmax.interpolated_argmax`.

    Args:
        scores: of both planes, ``(K, H, W)``, float32, contiguous, on the CPU; at most 256 classes.
        labels: of both planes, ``(H, W)``, uint8, contiguous: their greatest classes.
        weight: of the second plane.
        rows: samples along H.
        columns: samples along W.

    Raises:
        MemoryError: none is left for a few rows.
    """
    result = torch.empty(len(rows), len(columns), dtype=torch.uint8)
    places = [tensor for along in (rows, columns) for tensor in (along.low, along.high, along.weight)]
    addresses = [tensor.data_ptr() for tensor in places]
    failed = _kernel()(
        *(tensor.data_ptr() for tensor in (*scores, *labels)), weight, *scores[0].shape,
        *addresses[:3], len(rows), *addresses[3:], len(columns), result.data_ptr(), native.thread_count(),
    )  # fmt: skip
    if failed:
        raise MemoryError("expected memory for a few rows of scores, got none")
    return result


@cache
def _kernel() -> Any:
    kernel = native.library().medkit_interpolated_argmax  # type: ignore[union-attr]
    pointer, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
    kernel.argtypes = [
        *[pointer] * 4, ctypes.c_float, *[size] * 3, *[pointer] * 3, size, *[pointer] * 3, size, pointer, number,
    ]  # fmt: skip
    kernel.restype = number
    return kernel
