"""What an image's header tells without its voxels: shape and spacing, and the files that it names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from medkit.data.archives import ARCHIVE_SUFFIX, peek_archive
from medkit.data.checks import SPACING_RANGE_MM
from medkit.data.grid import Grid
from medkit.data.reading import ITK_SUFFIXES, file_suffix, nifti_size_known, open_itk, open_nibabel
from medkit.data.text_headers import data_files

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["peek_channels", "source_files"]

_TEXT_HEADERS = (".nrrd", ".nhdr", ".mha", ".mhd")


def peek_channels(paths: Sequence[Path], arrays: Sequence[str] = ()) -> tuple[Grid, int] | None:
    """Grid and number of channels of an image in one file, or in one file per channel; its voxels are unseen.

    ITK's files give the right spacing, not the right orientation.

    Args:
        paths: the files.
        arrays: see :func:`medkit.data.reading.read_volume`.

    Returns:
        ``None`` for an image that reading will refuse, with its reason.
    """
    try:
        grid, channels = _peek(paths[0], arrays)
    except Exception:
        return None
    low, high = SPACING_RANGE_MM
    if not all(low <= edge <= high for edge in grid.spacing) or min(grid.shape) < 1:
        return None
    return grid, channels * len(paths)


def _peek(path: Path, arrays: Sequence[str]) -> tuple[Grid, int]:
    if file_suffix(path) == ARCHIVE_SUFFIX:
        return peek_archive(path, arrays)
    if file_suffix(path) in ITK_SUFFIXES:
        reader = open_itk(path)
        a, b, c, *_ = reader.GetSize()
        return Grid((a, b, c), np.diag([*reader.GetSpacing()[:3], 1.0])), reader.GetNumberOfComponents()
    image = open_nibabel(path)
    a, b, c, *more = image.shape
    size_known = not isinstance(image.header, nib.Nifti1Header) or nifti_size_known(image.header)
    grid = Grid((a, b, c), np.array(image.affine, dtype=np.float64), size_known=size_known)
    return grid, int(np.prod(more, dtype=np.int64))


def source_files(path: Path) -> list[Path]:
    """The files that reading an image takes: itself, and those with its voxels if it is a header alone."""
    suffix = file_suffix(path) or ""
    if suffix.startswith((".hdr", ".img")):
        return [path, *_rest_of_pair(path)]
    try:
        return [path, *(data_files(path) if suffix in _TEXT_HEADERS else [])]
    except OSError:
        return [path]


def _rest_of_pair(path: Path) -> list[Path]:
    # As nibabel looks for them, capitals included; SPM's map has the .mat too, which moves an Analyze image.
    holders = nib.Spm2AnalyzeImage.filespec_to_file_map(path).values()
    others = [Path(holder.filename) for holder in holders]
    return [other for other in others if other != path and other.is_file()]
