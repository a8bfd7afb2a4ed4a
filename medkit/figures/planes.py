"""Axial, coronal and sagittal planes of a volume, laid out as a radiologist expects them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["VIEWS", "Pose", "View", "focus", "most_telling", "plane"]

_SHOWN = 0.25  # of the largest area of a structure: less of it tells little
_COARSE = 128  # voxels along an axis that are looked at for that, evenly over the whole


@dataclass(frozen=True)
class View:
    """One of the three planes.

    Args:
        name: what it is called.
        axis: RAS axis that stands upright on the plane (0 right, 1 anterior, 2 superior).
        letters: where the borders lie in the patient: left, right, top and bottom of the picture.
    """

    name: str
    axis: int
    letters: tuple[str, str, str, str]

    @property
    def in_plane(self) -> tuple[int, int]:
        """RAS axes along the picture's width and height."""
        across, up = (axis for axis in range(3) if axis != self.axis)
        return across, up


# Radiological convention: the patient is seen from the feet and from the front, so that the right side is on
# the viewer's left; in the sagittal plane the face looks to the viewer's left.
VIEWS = (
    View("Axial", 2, ("R", "L", "A", "P")),
    View("Coronal", 1, ("R", "L", "S", "I")),
    View("Sagittal", 0, ("A", "P", "S", "I")),
)


class Pose:
    """How the axes of an array are permuted and flipped to point right, anterior and superior.

    Nothing is interpolated: an oblique volume keeps its own axes, each of which is given the direction that
    it is nearest to.

    Args:
        affine: 4x4, voxel index to RAS millimetres.
    """

    def __init__(self, affine: NDArray[np.float64]) -> None:
        self._orientation = nib.orientations.io_orientation(affine)
        columns = affine[:3, :3]
        lengths = np.linalg.norm(columns, axis=0)
        order = np.argsort(self._orientation[:, 0])
        self.spacing: NDArray[np.float64] = lengths[order]
        aligned = np.abs(columns / lengths)[self._orientation[:, 0].astype(int), range(3)]
        self.tilt_degrees = float(np.degrees(np.arccos(np.clip(aligned.min(), 0.0, 1.0))))

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """A view of ``(I, J, K)`` with the axes right, anterior, superior."""
        oriented: NDArray[Any] = nib.orientations.apply_orientation(array, self._orientation)
        return oriented

    def index_in_array(self, index: tuple[int, int, int], shape: tuple[int, ...]) -> NDArray[np.float64]:
        """The voxel of the array as stored, given its position in the oriented one.

        Args:
            index: position along right, anterior and superior.
            shape: shape of the oriented array.
        """
        back = nib.orientations.inv_ornt_aff(self._orientation, self._stored_shape(shape))
        stored: NDArray[np.float64] = back @ (*index, 1)
        return stored[:3]

    def _stored_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(shape[int(axis)] for axis in self._orientation[:, 0])


def focus(mask: NDArray[np.bool_]) -> tuple[int, int, int]:
    """The voxel through which the three planes go.

    It is the mask's centre of mass, save along an axis where that plane would miss the mask (the midplane
    between two sides, the hole of a ring): there it is the plane with the most of it. The image's centre when
    the mask is empty.

    Args:
        mask: ``(X, Y, Z)``.
    """
    x, y, z = (_plane_along(mask, axis) for axis in range(3))
    return x, y, z


def _plane_along(mask: NDArray[np.bool_], axis: int) -> int:
    areas = np.count_nonzero(mask, axis=tuple(other for other in range(3) if other != axis))
    if not areas.any():
        return int(mask.shape[axis]) // 2
    centre = round(float(np.average(np.arange(len(areas)), weights=areas)))
    return centre if areas[centre] else int(np.argmax(areas))


def most_telling(
    labels: NDArray[Any], structures: Sequence[Sequence[int]], centre: tuple[int, int, int]
) -> tuple[int, int, int]:
    """The planes that show the most structures, and of these the nearest to a centre.

    A plane shows a structure where it has a quarter at least of the area that this has on its largest plane of that
    direction. So a plane between two sides, which cuts little but what joins them, moves into one of them, and planes
    through the centre stay where no other shows more. Of large arrays every second voxel is looked at, or every third,
    and so on, and planes go by as many.

    Args:
        labels: ``(X, Y, Z)``.
        structures: labels of each.
        centre: position along each axis.
    """
    steps = [-(-length // _COARSE) for length in labels.shape]
    taken = tuple(slice(at % step, None, step) for at, step in zip(centre, steps, strict=True))
    numbers = _structure_numbers(labels[taken], structures)
    x, y, z = (
        at + step * _towards_most(_areas(numbers, axis, len(structures)), at // step)
        for axis, (at, step) in enumerate(zip(centre, steps, strict=True))
    )
    return x, y, z


def _structure_numbers(labels: NDArray[Any], structures: Sequence[Sequence[int]]) -> NDArray[np.intp]:
    """The place of each voxel's structure among all, from 1; 0 for none."""
    numbered = sorted((label, number) for number, own in enumerate(structures, 1) for label in own)
    if not numbered:
        return np.zeros(labels.shape, np.intp)
    known, numbers = np.array(numbered).T
    places = np.searchsorted(known, labels).clip(max=len(known) - 1)
    found: NDArray[np.intp] = np.where(known[places] == labels, numbers[places], 0)
    return found


def _areas(numbers: NDArray[np.intp], axis: int, count: int) -> NDArray[np.intp]:
    """``(planes, structures)`` voxels of each structure on each plane along an axis."""
    planes = np.moveaxis(numbers, axis, 0).reshape(numbers.shape[axis], -1)
    return np.stack([np.bincount(one, minlength=count + 1)[1:] for one in planes])


def _towards_most(areas: NDArray[np.intp], at: int) -> int:
    """How many planes from the one at hand the nearest one lies that shows the most structures."""
    shown = np.count_nonzero((areas > 0) & (areas >= _SHOWN * areas.max(axis=0)), axis=1)
    away = np.flatnonzero(shown == shown.max()) - at
    return int(away[np.argmin(np.abs(away))])


def plane(array: NDArray[Any], view: View, index: int) -> NDArray[Any]:
    """One plane as a picture: rows from the top, columns from the left, in radiological convention.

    Args:
        array: ``(X, Y, Z)`` with the axes right, anterior, superior.
        view: which plane.
        index: position along ``view.axis``.
    """
    # A view: np.take would copy all of an array whose axes were permuted.
    picture: NDArray[Any] = np.moveaxis(array, view.axis, 0)[index].T[::-1, ::-1]
    return picture
