"""Write the volumes of DICOM series as NIfTI, with the verdicts beside them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medkit.data.cases import PADDING_MASK
from medkit.data.grid import Grid
from medkit.data.writing import UNFINISHED, make_folder, write_text, write_volume
from medkit.dicom.reading import read_each
from medkit.dicom.verdicts import series_verdict, verdicts
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from medkit.dicom.findings import Repair
    from medkit.dicom.result import SeriesReading, SeriesVolume

__all__ = ["VERDICTS", "Conversion", "convert"]

VERDICTS = "verdicts.json"


@dataclass(frozen=True)
class Conversion:
    """The verdicts, and the files that were written, by volume."""

    verdicts: dict[str, Any]
    files: dict[str, Path]


def convert(
    source: Path | Sequence[Path],
    output: Path,
    *,
    repairs: Collection[Repair | str] = (),
    picks: Mapping[str, str] | None = None,
) -> Conversion:
    """Write ``NAME.nii.gz`` for each volume, ``NAME_padding.nii.gz`` where it has padding, and ``verdicts.json`` last.

    Series are read and written one after another, and no more than one is held.

    Args:
        source: see :func:`medkit.dicom.read`.
        output: folder, empty or not there.
        repairs: see :class:`medkit.dicom.Repair`.
        picks: see :func:`medkit.dicom.read`.

    Raises:
        UsageError: the folder holds something, or what reading raises.
    """
    output = Path(output)
    if output.exists() and (not output.is_dir() or any(not _unfinished(path) for path in output.iterdir())):
        raise UsageError(f"{output}: expected an empty folder, or none, got one with files; choose another")
    files: dict[str, Path] = {}

    def written(series: SeriesReading) -> dict[str, Any]:
        for volume in series.volumes:
            make_folder(output)
            files[volume.name] = _write(volume, output)
        return series_verdict(series, {name: path.name for name, path in files.items()})

    series, refusals = read_each(source, written, repairs=repairs, picks=picks)
    make_folder(output)
    record = verdicts(series, refusals, repairs, picks)
    write_text(output / VERDICTS, json.dumps(record, indent=2) + "\n")
    return Conversion(record, files)


def _unfinished(path: Path) -> bool:
    """What a conversion that was killed left."""
    return path.name.startswith(UNFINISHED)


def _write(volume: SeriesVolume, output: Path) -> Path:
    columns, rows, slices = volume.array.shape
    grid = Grid((columns, rows, slices), volume.affine)
    path = output / f"{volume.name}.nii.gz"
    write_volume(path, volume.array, grid)
    if volume.padding is not None:
        write_volume(output / f"{volume.name}{PADDING_MASK}", volume.padding.astype(np.uint8), grid)
    return path
