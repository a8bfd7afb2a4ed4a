"""The Haar transform as one Triton kernel, for 2D and 3D, forward and inverse.

Importing this needs Triton. A program computes a tile of rows and columns of every sub-band: it reads whole
stretches of rows and separates even from odd columns in registers, so that memory sees neighbouring addresses.
"""

# Triton compiles its functions from their source and has types of its own.
# ruff: noqa: ANN001, ANN202
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator"
from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["transform"]

# Elements of a sub-band that a program computes, and the widest tile of them.
_TILE = 512
_WIDEST = 128


def transform(volume: Tensor, bands: Tensor, *, inverse: bool) -> None:
    """Overwrite ``bands`` by the transform of ``volume``, or ``volume`` by the inverse of ``bands``.

    Args:
        volume: ``(B, C, H, W)`` or ``(B, C, D, H, W)``, contiguous, not empty.
        bands: of the shape that :func:`medkit.ops.haar.haar_dwt` gives, of the same type, contiguous.
        inverse: whether ``volume`` is written.
    """
    batch, channels, *sizes = volume.shape
    depth, height, width = [1, *sizes][-3:]
    half_depth, half_height, half_width = [1, *bands.shape[2:]][-3:]
    columns = min(triton.next_power_of_2(half_width), _WIDEST)
    rows = min(triton.next_power_of_2(half_height), _TILE // columns)
    tiles = triton.cdiv(half_width, columns) * triton.cdiv(half_height, rows)
    grid = (batch * channels * half_depth * tiles,)
    with torch.cuda.device_of(volume):  # type: ignore[no-untyped-call]
        _kernel[grid](
            volume, bands, channels, depth, height, width, half_depth, half_height, half_width,
            INVERSE=inverse, VOLUMETRIC=len(sizes) == 3, SCALE=2 ** (-len(sizes) / 2),
            SUM=tl.float64 if volume.dtype == torch.float64 else tl.float32, ROWS=rows, COLUMNS=columns,
        )  # fmt: skip


@triton.jit
def _kernel(
    volume, bands, channels, depth, height, width, half_depth, half_height, half_width,
    INVERSE: tl.constexpr, VOLUMETRIC: tl.constexpr, SCALE: tl.constexpr,
    SUM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    tiles_across, tiles_down = tl.cdiv(half_width, COLUMNS), tl.cdiv(half_height, ROWS)
    program = tl.program_id(0)
    left = program % tiles_across * COLUMNS
    top = program // tiles_across % tiles_down * ROWS
    slab = program // tiles_across // tiles_down
    d = slab % half_depth
    image = slab // half_depth

    # Slices and bands are found with 64 bits, for a volume may have more than 2**31 elements.
    slice_size = tl.cast(height, tl.int64) * width
    band_size = tl.cast(half_height, tl.int64) * half_width
    stride = band_size * channels * half_depth
    front = volume + (image * depth + 2 * d) * slice_size
    back = front + slice_size
    low = bands + slab * band_size + image // channels * (7 if VOLUMETRIC else 3) * stride
    high = low + 4 * stride

    row = top + tl.arange(0, ROWS)[:, None]
    column = left + tl.arange(0, COLUMNS)[None, :]
    in_band = (row < half_height) & (column < half_width)
    band_offset = row * half_width + column
    column = 2 * left + tl.arange(0, 2 * COLUMNS)[None, :]
    in_upper = (2 * row < height) & (column < width)
    in_lower = (2 * row + 1 < height) & (column < width)
    upper = 2 * row * width + column
    lower = upper + width

    # Neighbours and bands are numbered 4 d + 2 h + w: a holds the numbers 0 to 3, b 4 to 7.
    if INVERSE:
        a = _hadamard(_load_bands(low, band_offset, stride, in_band, SUM))
    else:
        a = _hadamard(_load_rows(front, upper, lower, in_upper, in_lower, SUM, ROWS, COLUMNS))
    if VOLUMETRIC:
        has_back = 2 * d + 1 < depth
        in_upper_back, in_lower_back = in_upper & has_back, in_lower & has_back
        if INVERSE:
            b = _hadamard(_load_bands(high, band_offset, stride, in_band, SUM))
        else:
            b = _hadamard(_load_rows(back, upper, lower, in_upper_back, in_lower_back, SUM, ROWS, COLUMNS))
        a, b = _add(a, b), _subtract(a, b)
        if INVERSE:
            _store_rows(back, upper, lower, in_upper_back, in_lower_back, b, SCALE, ROWS, COLUMNS)
        else:
            _store_bands(high, band_offset, stride, in_band, b, SCALE)
    if INVERSE:
        _store_rows(front, upper, lower, in_upper, in_lower, a, SCALE, ROWS, COLUMNS)
    else:
        _store_bands(low, band_offset, stride, in_band, a, SCALE)


@triton.jit
def _hadamard(v):
    """Along the row, then across the rows: the order of the sums in ``reference.py``."""
    left = v[0] + v[1], v[2] + v[3]
    right = v[0] - v[1], v[2] - v[3]
    return left[0] + left[1], right[0] + right[1], left[0] - left[1], right[0] - right[1]


@triton.jit
def _add(a, b):
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]


@triton.jit
def _subtract(a, b):
    return a[0] - b[0], a[1] - b[1], a[2] - b[2], a[3] - b[3]


@triton.jit
def _load_rows(
    base, upper, lower, in_upper, in_lower, SUM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    first = tl.load(base + upper, in_upper, 0).to(SUM)
    second = tl.load(base + lower, in_lower, 0).to(SUM)
    v0, v1 = tl.split(tl.reshape(first, (ROWS, COLUMNS, 2)))
    v2, v3 = tl.split(tl.reshape(second, (ROWS, COLUMNS, 2)))
    return v0, v1, v2, v3


@triton.jit
def _store_rows(
    base, upper, lower, in_upper, in_lower, v, SCALE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    first = tl.reshape(tl.join(v[0] * SCALE, v[1] * SCALE), (ROWS, 2 * COLUMNS))
    second = tl.reshape(tl.join(v[2] * SCALE, v[3] * SCALE), (ROWS, 2 * COLUMNS))
    tl.store(base + upper, first.to(base.dtype.element_ty), in_upper)
    tl.store(base + lower, second.to(base.dtype.element_ty), in_lower)


@triton.jit
def _load_bands(base, offset, stride, inside, SUM: tl.constexpr):
    v0 = tl.load(base + offset, inside, 0).to(SUM)
    v1 = tl.load(base + stride + offset, inside, 0).to(SUM)
    v2 = tl.load(base + 2 * stride + offset, inside, 0).to(SUM)
    v3 = tl.load(base + 3 * stride + offset, inside, 0).to(SUM)
    return v0, v1, v2, v3


@triton.jit
def _store_bands(base, offset, stride, inside, v, SCALE: tl.constexpr):
    tl.store(base + offset, (v[0] * SCALE).to(base.dtype.element_ty), inside)
    tl.store(base + stride + offset, (v[1] * SCALE).to(base.dtype.element_ty), inside)
    tl.store(base + 2 * stride + offset, (v[2] * SCALE).to(base.dtype.element_ty), inside)
    tl.store(base + 3 * stride + offset, (v[3] * SCALE).to(base.dtype.element_ty), inside)
