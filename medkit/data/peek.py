"""What an image's header tells without its voxels: shape and spacing, and the files that it names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medkit.data.checks import SPACING_RANGE_MM
from medkit.data.grid import Grid
from medkit.data.reading import ITK_SUFFIXES, file_suffix, open_itk, open_nibabel

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["peek_channels", "source_files"]

_PAIR_SUFFIXES = (".hdr", ".img", ".hdr.gz", ".img.gz")
_DETACHED_SUFFIXES = (".nhdr", ".mhd")
_NAMES_DATA = re.compile(r"(?:data ?file|ElementDataFile)\s*[:=]\s*(.+)", re.IGNORECASE)


def peek_channels(paths: Sequence[Path]) -> tuple[Grid, int] | None:
    """Grid and number of channels of an image in one file, or in one file per channel; its voxels are unseen.

    ITK's files give the right spacing, not the right orientation.

    Returns:
        ``None`` for an image that reading will refuse, with its reason.
    """
    try:
        grid, channels = _peek(paths[0])
    except Exception:
        return None
    low, high = SPACING_RANGE_MM
    if not all(low <= edge <= high for edge in grid.spacing) or min(grid.shape) < 1:
        return None
    return grid, channels * len(paths)


def _peek(path: Path) -> tuple[Grid, int]:
    if file_suffix(path) in ITK_SUFFIXES:
        reader = open_itk(path)
        a, b, c, *_ = reader.GetSize()
        return Grid((a, b, c), np.diag([*reader.GetSpacing()[:3], 1.0])), reader.GetNumberOfComponents()
    image = open_nibabel(path)
    a, b, c, *more = image.shape
    return Grid((a, b, c), np.array(image.affine, dtype=np.float64)), int(np.prod(more, dtype=np.int64))


def source_files(path: Path) -> list[Path]:
    """The files that reading an image takes: itself, and those with its voxels if it is a header alone."""
    suffix = file_suffix(path) or ""
    if suffix in _PAIR_SUFFIXES:
        stem = path.name[: len(path.name) - len(suffix)]
        others = (path.with_name(stem + other) for other in _PAIR_SUFFIXES)
        return [path, *(other for other in others if other != path and other.is_file())]
    return [path, *(_detached_files(path) if suffix in _DETACHED_SUFFIXES else [])]


def _detached_files(header: Path) -> list[Path]:
    """The files that an NRRD or MetaImage header names; a numbered series stays one name, of no file."""
    try:
        lines = header.read_text(encoding="latin-1").splitlines()
    except OSError:
        return []
    for number, line in enumerate(lines):
        if named := _NAMES_DATA.fullmatch(line.strip()):
            one = named[1].strip()
            listed = [name.strip() for name in lines[number + 1 :] if name.strip()]
            return [header.parent / name for name in (listed if one.split()[0].upper() == "LIST" else [one])]
    return []
