"""What stays of a result when the time for which it is kept is over: how an archive knows it, and no patient."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pydicom

from medkit.dicom.writing.saving import save

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["is_stub", "reduce_to_stub"]

_UIDS = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
_MARK = "PatientName"  # which every composite object has, if empty (PS3.3, C.7.1.1)


def reduce_to_stub(path: Path) -> None:
    """Leave of a result its class and its UIDs, with which an archive can still be asked for it, or told to reject it.

    Raises:
        OSError: the file cannot be read or written.
        ValueError: what is read is no object that has them all; the file is as it was.
    """
    try:
        stub = _read(path, _UIDS)
        if all(stub.get(name) for name in _UIDS):
            save(stub, path)
            return
        reason = "one is missing"
    except (OSError, MemoryError):
        raise
    except Exception as error:  # whatever pydicom meets in a damaged file, of which it may quote values
        reason = type(error).__name__
    raise ValueError(f"{path}: expected a DICOM object with {', '.join(_UIDS)}, got none ({reason})")


def is_stub(path: Path) -> bool:
    """Whether no more of a result is left."""
    return _MARK not in _read(path, [_MARK])


def _read(path: Path, names: list[str]) -> pydicom.FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on values that are not looked at
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=names)
