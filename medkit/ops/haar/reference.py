"""The Haar transform in plain PyTorch: slices, sums and differences.

The kernels keep the order of these sums, so that all of them round alike.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["haar_dwt", "haar_idwt"]


def haar_dwt(x: Tensor) -> Tensor:
    """See :func:`medkit.ops.haar.haar_dwt`."""
    axes = x.ndim - 2
    margins = [margin for size in reversed(x.shape[2:]) for margin in (0, size % 2)]
    padded = functional.pad(x, margins).to(_precision(x))
    neighbours = [padded[:, :, *starts] for starts in _starts(axes)]
    return torch.cat([band * 2 ** (-axes / 2) for band in _hadamard(neighbours)], dim=1).to(x.dtype)


def haar_idwt(bands: Tensor, size: Sequence[int]) -> Tensor:
    """See :func:`medkit.ops.haar.haar_idwt`."""
    axes = bands.ndim - 2
    parts = [
        part * 2 ** (-axes / 2) for part in _hadamard(list(bands.to(_precision(bands)).chunk(2**axes, dim=1)))
    ]
    for axis in reversed(range(2, bands.ndim)):
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [torch.stack(pair, dim=axis + 1).flatten(axis, axis + 1) for pair in pairs]
    return parts[0][:, :, *map(slice, size)].to(bands.dtype).contiguous()


def _precision(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _starts(axes: int) -> list[tuple[slice, ...]]:
    """Every other element along each axis from the first or the second; the last axis changes fastest."""
    return list(product((slice(0, None, 2), slice(1, None, 2)), repeat=axes))


def _hadamard(values: list[Tensor]) -> list[Tensor]:
    """Walsh-Hadamard transform over the list, whose index has one bit for each axis."""
    step = 1
    while step < len(values):
        for k in range(len(values)):
            if not k & step:
                values[k], values[k + step] = values[k] + values[k + step], values[k] - values[k + step]
        step *= 2
    return values
