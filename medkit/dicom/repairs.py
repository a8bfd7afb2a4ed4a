"""Interpolate a stack onto a grid with right angles or even distances, on request only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Regridded", "regrid"]

# Headers round positions, mostly to thousandths of a millimetre: what is nearer than this to the grid lies on it, and
# is not interpolated.
_ROUNDING_VOXELS = 5e-3


@dataclass(frozen=True, eq=False)
class Regridded:
    """A stack on its new grid.

    Args:
        array: ``(I, J, K)`` float32.
        affine: 4x4 to RAS millimetres.
        outside: where no slice of the source lies, or padding had a part; the lowest measured value stands there.
        bridged_mm: largest distance of two slices between which was interpolated.
    """

    array: NDArray[np.float32]
    affine: NDArray[np.float64]
    outside: NDArray[np.bool_]
    bridged_mm: float


def regrid(
    array: NDArray[Any],
    padding: NDArray[np.bool_] | None,
    affine: NDArray[np.float64],
    origins: NDArray[np.float64],
    upright: bool,
    step: float | None,
) -> Regridded:
    """Shift slices within themselves, then interpolate between them, both linearly.

    An upright grid holds all slices whole, so that it may be larger. Another holds what all slices have in common.

    Args:
        array: ``(I, J, K)``.
        padding: ``(I, J, K)``, where nothing was measured; ``None`` where all was.
        affine: 4x4 to RAS millimetres; its first two columns are those of every slice.
        origins: ``(K, 3)``, RAS millimetres of the first pixel of each slice, ascending along the third column.
        upright: whether the third axis becomes the normal; else it is the line from first to last slice.
        step: millimetres between slices along the third axis, made smaller where the last asks for it; ``None``
            keeps their number, where they are even.

    Returns:
        The stack on its new grid.
    """
    axes = affine[:3, :3]
    normal = np.cross(axes[:, 0], axes[:, 1])
    normal /= np.linalg.norm(normal)
    way = origins[-1] - origins[0]
    way = normal * float(normal @ way) if upright else way
    along = (origins - origins[0]) @ normal / float(way @ normal)
    # How far each slice lies beside the line, in voxels of its two axes.
    beside = np.linalg.lstsq(axes[:, :2], (origins - origins[0] - along[:, None] * way).T, rcond=None)[0].T
    low, high = _margins(beside, upright)
    size = (*(np.array(array.shape[:2]) + high - low), array.shape[2])
    unmeasured = np.zeros(array.shape, bool) if padding is None else padding
    lowest = array.min() if unmeasured.all() else array[~unmeasured].min()
    made, outside = np.full(size, lowest, np.float32), np.ones(size, bool)
    for number in range(size[2]):
        by = beside[number] - low
        _shift(array[..., number], unmeasured[..., number], by, made[..., number], outside[..., number])
    made[outside] = lowest
    length = float(np.linalg.norm(way))
    if step is not None:
        made, outside = _between(made, outside, along, int(np.ceil(length / step - _ROUNDING_VOXELS)) + 1)
    new = affine.copy()
    new[:3, 2] = way / (made.shape[2] - 1)
    new[:3, 3] = origins[0] + axes[:, :2] @ low
    return Regridded(made, new, outside, float(np.diff(along).max()) * length)


def _margins(beside: NDArray[np.float64], whole: bool) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Where the new grid begins and by how much it ends later than the old, along two axes, in voxels."""
    if whole:
        low, high = np.floor(beside.min(0) + _ROUNDING_VOXELS), np.ceil(beside.max(0) - _ROUNDING_VOXELS)
    else:
        low, high = np.ceil(beside.max(0) - _ROUNDING_VOXELS), np.floor(beside.min(0) + _ROUNDING_VOXELS)
    return low.astype(int), high.astype(int)


def _shift(
    plane: NDArray[Any],
    unmeasured: NDArray[np.bool_],
    by: NDArray[np.float64],
    onto: NDArray[np.float32],
    outside: NDArray[np.bool_],
) -> None:
    """Move a plane by a part of voxels onto a larger one; what has a part of the unmeasured is not measured either."""
    start = np.ceil(by - _ROUNDING_VOXELS).astype(int)
    part = np.clip(start - by, 0, 1)
    moved = plane.astype(np.float64)
    for axis in (0, 1):
        if part[axis] > _ROUNDING_VOXELS:
            here, there = np.delete(moved, -1, axis), np.delete(moved, 0, axis)
            moved = here + (there - here) * part[axis]
            unmeasured = np.delete(unmeasured, -1, axis) | np.delete(unmeasured, 0, axis)
    cut = tuple(slice(max(0, -first), None) for first in start)
    moved, unmeasured = moved[cut], unmeasured[cut]
    place = tuple(
        slice(max(0, first), max(0, first) + count) for first, count in zip(start, moved.shape, strict=True)
    )
    kept = tuple(slice(None, size - start.start) for size, start in zip(onto.shape, place, strict=True))
    onto[place], outside[place] = moved[kept], unmeasured[kept]


def _between(
    array: NDArray[np.float32], outside: NDArray[np.bool_], along: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Interpolate between neighbouring slices at ``along``, from 0 to 1, onto so many even ones."""
    places, wanted = along * (count - 1), np.arange(count)
    places = np.where(np.abs(places - np.rint(places)) <= _ROUNDING_VOXELS, np.rint(places), places)
    below = np.clip(np.searchsorted(places, wanted, side="right") - 1, 0, len(places) - 2)
    part = (wanted - places[below]) / (places[below + 1] - places[below])
    made = np.empty((*array.shape[:2], count), np.float32)
    nowhere = np.empty(made.shape, bool)
    for number, (first, weight) in enumerate(zip(below, part, strict=True)):
        here, there = array[..., first].astype(np.float64), array[..., first + 1].astype(np.float64)
        made[..., number] = here + (there - here) * weight
        # A slice of no weight has no say, here or there.
        left, right = weight < 1, weight > 0
        nowhere[..., number] = (outside[..., first] & left) | (outside[..., first + 1] & right)
    made[nowhere] = array.min()
    return made, nowhere
