"""DICOM series to volumes with a verdict; the only package that knows pydicom.

What belongs here: finding files, grouping frames into volumes, their geometry and intensities, repairs on request.
What does not: anything that looks at an image's content, and printing. Silence is no answer here: a volume is right, or
it is refused with a code and a line that says what and where.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from medkit.dicom.findings import Finding, Repair
from medkit.dicom.limits import Limits
from medkit.dicom.result import Frame, Reading, SeriesReading, SeriesVolume
from medkit.errors import UsageError

if TYPE_CHECKING:
    from medkit.dicom.conversion import convert
    from medkit.dicom.monai_reader import DicomReader
    from medkit.dicom.reading import read
    from medkit.dicom.verdicts import inspect

__all__ = [
    "DicomReader",
    "Finding",
    "Frame",
    "Limits",
    "Reading",
    "Repair",
    "SeriesReading",
    "SeriesVolume",
    "convert",
    "inspect",
    "read",
]

# Imported when asked for: the command line names repairs in its help without pydicom.
_LAZY = {
    "DicomReader": "medkit.dicom.monai_reader",
    "convert": "medkit.dicom.conversion",
    "inspect": "medkit.dicom.verdicts",
    "read": "medkit.dicom.reading",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if find_spec("pydicom") is None:
        raise UsageError(
            "this needs pydicom, got an installation without: pip install 'medkit-imaging[dicom]'"
        )
    return getattr(import_module(_LAZY[name]), name)
