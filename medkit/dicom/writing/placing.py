"""Bring an array onto the grid of its source, by where its voxels lie and never by the order of files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from medkit.data.grid import SAME_PLACE_VOXELS, voxels_apart
from medkit.errors import CaseError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medkit.dicom.result import SeriesVolume

__all__ = ["as_frames", "check_upright", "on_grid"]


def on_grid(array: NDArray[Any], affine: NDArray[np.float64], volume: SeriesVolume) -> NDArray[Any]:
    """A view of an array with its axes in the order and direction of a source volume.

    Args:
        array: ``(I, J, K)``, or with channels ``(I, J, K, C)``, on the voxels of ``volume``, whose axes it may have in
            any order and direction.
        affine: 4x4, voxel index of ``array`` to RAS millimetres.
        volume: the source.

    Raises:
        CaseError: ``grids-differ`` where a voxel is more than a tenth of a voxel edge from the source's.
    """
    step = np.linalg.solve(volume.affine[:3, :3], affine[:3, :3])
    axes = np.abs(step).argmax(axis=0)
    if sorted(axes) != [0, 1, 2]:
        raise _other_grid(volume, f"axes that are none of its axes ({volume.array.shape} and {array.shape})")
    signs = np.sign(step[axes, range(3)])
    turn = np.column_stack([axes, signs])
    placed = nib.orientations.apply_orientation(array, turn)
    shape = volume.array.shape[:3]
    if placed.shape[:3] != shape:
        raise _other_grid(volume, f"{placed.shape[:3]} voxels instead of {shape}")
    back = affine @ nib.orientations.inv_ornt_aff(turn, array.shape[:3])
    apart = voxels_apart(shape, volume.affine, back)
    if not apart <= SAME_PLACE_VOXELS:
        raise _other_grid(volume, f"voxels up to {apart:.3g} voxel edges away")
    oriented: NDArray[Any] = placed
    return oriented


def _other_grid(volume: SeriesVolume, got: str) -> CaseError:
    return CaseError(
        "grids-differ",
        f"{volume.called}: expected the grid of its volume {volume.name}, got {got}; resample onto "
        "it (label maps with nearest neighbours)",
    )


def as_frames(array: NDArray[Any]) -> NDArray[Any]:
    """``(I, J, K)`` as frames ``(K, rows, columns)``, or ``(I, J, K, C)`` as ``(K, rows, columns, C)``."""
    return array.transpose(2, 1, 0, *range(3, array.ndim))


def check_upright(volume: SeriesVolume) -> None:
    """Refuse slices that do not lie straight behind each other, as under gantry tilt.

    Each frame would be in its place, but programs that stack frames along their normal put them elsewhere without a
    word: dcmqi by up to 10 mm.

    Raises:
        CaseError: ``source-sheared``.
    """
    upright = upright_affine(volume.affine)
    apart = voxels_apart(volume.array.shape, volume.affine, upright)
    if apart > SAME_PLACE_VOXELS:
        column, normal = volume.affine[:3, 2], upright[:3, 2]
        degrees = np.degrees(np.arccos(np.clip(np.linalg.norm(normal) / np.linalg.norm(column), 0, 1)))
        raise CaseError(
            "source-sheared",
            f"{volume.called}: expected slices straight behind each other, got some that are "
            f"shifted by up to {apart:.3g} voxel edges (a tilt of {degrees:.1f} degrees), which other programs misplace "
            "without a word; allow sheared sources if all that read the result place each frame by its own position",
        )


def upright_affine(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """The affine of a stack whose slices lie along their normal, and whose rows and columns are at right angles.

    It keeps the first voxel's place, the direction of the rows, and the distance from slice to slice.
    """
    upright = affine.copy()
    rows, columns = affine[:3, 0], affine[:3, 1]
    along = rows / np.linalg.norm(rows)
    across = columns - (columns @ along) * along
    across /= np.linalg.norm(across)
    normal = np.cross(along, across)
    upright[:3, 1] = across * np.linalg.norm(columns)
    upright[:3, 2] = normal * (affine[:3, 2] @ normal)
    return upright
