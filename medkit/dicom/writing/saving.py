"""Write DICOM files whole or not at all."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pydicom

from medkit.data.writing import replacing
from medkit.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

__all__ = ["check_free", "instance_uid", "save"]


def check_free(path: Path, dataset: Dataset) -> None:
    """Check that nothing is lost when an object is written: no file is there, or one with the same object.

    Raises:
        UsageError: another file stands there.
    """
    if not path.exists():
        return
    try:
        same = instance_uid(path) == dataset.SOPInstanceUID
    except Exception:  # no DICOM object
        same = False
    if not same:
        raise UsageError(
            f"{path}: expected no file of another result there, got one; choose another folder for each study and result"
        )


def instance_uid(path: Path) -> str:
    """The SOP Instance UID of a file; empty where it has none. Raises what pydicom raises on files of other kinds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on whatever lies there
        there = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
    return str(there.get("SOPInstanceUID") or "")


def save(dataset: Dataset, path: Path) -> None:
    """Write an object as a DICOM file (PS3.10), with a preamble of zeros, under its name when it is whole."""
    dataset.preamble = bytes(128)
    with replacing(path) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)
