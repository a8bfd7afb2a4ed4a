"""Interpolate a stack onto a grid with right angles or even distances, on request only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from medkit.data.grid import flip_lps_ras

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["deshear", "resample"]


def deshear(array: NDArray[Any], affine: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Shift each slice back by linear interpolation within it, so that the third axis stands on the others.

    The grid holds all slices whole. What no slice covers becomes the lowest value of the array.

    Args:
        array: ``(I, J, K)``.
        affine: 4x4 to RAS millimetres, with a shear of the third axis.

    Returns:
        The array and its affine.
    """
    axes = affine[:3, :3]
    normal = np.cross(axes[:, 0], axes[:, 1])
    normal /= np.linalg.norm(normal)
    upright = normal * float(normal @ axes[:, 2])
    # How far slice k lies along the first two axes, in their voxels.
    shift = np.linalg.lstsq(axes[:, :2], axes[:, 2] - upright, rcond=None)[0]
    slices = array.shape[2]
    ends = np.outer([0, slices - 1], shift)
    low, high = np.floor(ends.min(0) + 1e-6).astype(int), np.ceil(ends.max(0) - 1e-6).astype(int)
    size = np.array(array.shape[:2]) + high - low
    made = np.full((*size, slices), array.min(), np.float32)
    for number in range(slices):
        made[..., number] = _shifted(array[..., number], number * shift - low, made[..., number])
    new = affine.copy()
    new[:3, 2] = upright
    new[:3, 3] += axes[:, :2] @ low
    return made, new


def _shifted(plane: NDArray[Any], by: NDArray[np.float64], onto: NDArray[np.float32]) -> NDArray[np.float32]:
    """Move a plane by a part of voxels onto a larger one; voxels that it covers in part keep what was there."""
    start = np.ceil(by - 1e-6).astype(int)
    part = np.clip(start - by, 0, 1)
    moved = plane.astype(np.float64)
    for axis in (0, 1):
        if part[axis] > 1e-6:
            here, there = np.delete(moved, -1, axis), np.delete(moved, 0, axis)
            moved = here + (there - here) * part[axis]
    onto[start[0] : start[0] + moved.shape[0], start[1] : start[1] + moved.shape[1]] = moved
    return onto


def resample(
    array: NDArray[Any], positions: Sequence[NDArray[np.float64]], affine: NDArray[np.float64], step: float
) -> tuple[NDArray[np.float32], NDArray[np.float64], float]:
    """Interpolate linearly between neighbouring slices onto even distances along the normal.

    Args:
        array: ``(I, J, K)``, sorted along the normal.
        positions: LPS millimetres of the first pixel of each slice, in a line along the normal.
        affine: 4x4, of the first slice; its third column is replaced.
        step: millimetres between the new slices, at most; it becomes smaller so that the last slice is met.

    Returns:
        The array, its affine, and the largest distance between two slices that was bridged.
    """
    places = np.array(positions)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(places, axis=0), axis=1))])
    count = int(np.ceil(along[-1] / step - 1e-6)) + 1
    wanted = np.linspace(0, along[-1], count)
    below = np.clip(np.searchsorted(along, wanted, side="right") - 1, 0, len(along) - 2)
    part = (wanted - along[below]) / (along[below + 1] - along[below])
    made = np.empty((*array.shape[:2], count), np.float32)
    for number, (first, weight) in enumerate(zip(below, part, strict=True)):
        here, there = array[..., first].astype(np.float64), array[..., first + 1].astype(np.float64)
        made[..., number] = here + (there - here) * weight
    new = affine.copy()
    lps = np.eye(4)
    lps[:3, 3] = (places[-1] - places[0]) / (count - 1)
    new[:3, 2] = flip_lps_ras(lps)[:3, 3]
    return made, new, float(np.diff(along).max())
