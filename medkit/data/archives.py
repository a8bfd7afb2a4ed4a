"""Read a case that numpy packed into one ``.npz``: an array a channel, and nothing on voxel size or orientation.

The arrays are ``(slices, rows, columns)``, as stacked pictures of axial slices give them. They are taken as such
pictures are shown: slices from below, rows from the front, columns from the patient's right. That, and that the voxel
size is unknown, goes along with the volume.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import numpy as np

from medkit.data.checks import check_claim
from medkit.data.grid import SIZE_UNKNOWN_NOTE, Grid
from medkit.data.volume import Volume
from medkit.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["ARCHIVE_SUFFIX", "LABEL_ARRAY", "peek_archive", "read_archive"]

ARCHIVE_SUFFIX = ".npz"
LABEL_ARRAY = "mask"  # a case's label map, which is no channel of its image
_MEMBER = ".npy"
# From stored columns, rows and slices (left, back, up) to RAS; the edges stand for a size that nobody knows.
_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
_NOTES = (
    SIZE_UNKNOWN_NOTE,
    "the file states no orientation: slices are taken as axial and from below, rows from the front, columns from "
    "the patient's right; the side is unknown",
)


def read_archive(path: Path, arrays: Sequence[str] = ()) -> Volume:
    """Read arrays of one shape as the channels of a volume ``(columns, rows, slices)``, with more than one behind.

    Args:
        path: the ``.npz``.
        arrays: names of the channels, in this order; all but ``mask`` by default, in the order of the file.

    Raises:
        CaseError: ``array-missing``, ``channels-on-different-grids``, ``not-3d`` or ``file-truncated``.
        Exception: whatever zipfile and numpy raise on a damaged file.
    """
    with ZipFile(path) as archive:
        names = _chosen(archive, path, arrays)
        shape = _common_shape(archive, path, names)
        channels = [_read_array(archive, name).transpose(2, 1, 0) for name in names]
    array = channels[0] if len(channels) == 1 else np.stack(channels, axis=-1)
    return Volume(array, _grid(shape), str(path), _NOTES)


def peek_archive(path: Path, arrays: Sequence[str] = ()) -> tuple[Grid, int]:
    """Grid and number of channels, with no voxel read; see :func:`read_archive`."""
    with ZipFile(path) as archive:
        names = _chosen(archive, path, arrays)
        return _grid(_common_shape(archive, path, names)), len(names)


def _grid(shape: tuple[int, ...]) -> Grid:
    slices, rows, columns = shape
    return Grid((columns, rows, slices), _AFFINE.copy(), size_known=False, side_known=False)


def _chosen(archive: ZipFile, path: Path, arrays: Sequence[str]) -> list[str]:
    held = [name.removesuffix(_MEMBER) for name in archive.namelist() if name.endswith(_MEMBER)]
    names = list(arrays) or [name for name in held if name != LABEL_ARRAY]
    if missing := [name for name in names or ["an image"] if name not in held]:
        raise CaseError(
            "array-missing",
            f"{path}: expected an array for each of {', '.join(names) or 'the channels'}, got a file without "
            f"{', '.join(missing)}, which holds {', '.join(held) or 'none'}; pack the case again under these names",
        )
    return names


def _common_shape(archive: ZipFile, path: Path, names: Sequence[str]) -> tuple[int, ...]:
    """The shape of all arrays, off their headers."""
    first: tuple[int, ...] | None = None
    for name in names:
        shape, dtype = _header(archive, name)
        check_claim(path, shape, dtype.itemsize)
        if len(shape) != 3:
            raise CaseError(
                "not-3d",
                f"{path}: expected '{name}' as (slices, rows, columns), got shape {shape}; stack the slices first",
            )
        first = first or shape
        if shape != first:
            raise CaseError(
                "channels-on-different-grids",
                f"{path}: expected '{name}' in the shape {first} of '{names[0]}', got {shape}; "
                "resample the channels onto one grid first",
            )
    assert first is not None
    return first


def _header(archive: ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with archive.open(f"{name}{_MEMBER}") as stream:
        major, _ = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    return tuple(int(n) for n in shape), dtype


def _read_array(archive: ZipFile, name: str) -> NDArray[Any]:
    with archive.open(f"{name}{_MEMBER}") as stream:
        array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        stream.read(1)  # zipfile compares the checksum at the end of the member
    return array.astype(array.dtype.newbyteorder("="), copy=False)
