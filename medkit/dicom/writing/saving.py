"""Write DICOM files whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medkit.data.writing import replacing

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

__all__ = ["save"]


def save(dataset: Dataset, path: Path) -> None:
    """Write an object as a DICOM file (PS3.10), with a preamble of zeros, under its name when it is whole."""
    dataset.preamble = bytes(128)
    with replacing(path) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)
