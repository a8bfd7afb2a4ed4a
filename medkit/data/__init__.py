"""Images, label maps and lists of cases: reading with strictness, writing without loss.

What belongs here: anything between a file and an array in RAS millimetres. What does not: arithmetic on
voxels (``metrics``, ``transforms``) and DICOM (``dicom``).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medkit.data.cases import Case, find_cases
    from medkit.data.grid import Grid
    from medkit.data.monai_io import LabelWriter, VolumeReader
    from medkit.data.reading import read_volume
    from medkit.data.volume import Volume, as_volume
    from medkit.data.writing import write_labels, write_volume

__all__ = [
    "Case",
    "Grid",
    "LabelWriter",
    "Volume",
    "VolumeReader",
    "as_volume",
    "find_cases",
    "read_volume",
    "write_labels",
    "write_volume",
]

_HOMES = {
    "Case": "cases",
    "Grid": "grid",
    "LabelWriter": "monai_io",
    "Volume": "volume",
    "VolumeReader": "monai_io",
    "as_volume": "volume",
    "find_cases": "cases",
    "read_volume": "reading",
    "write_labels": "writing",
    "write_volume": "writing",
}


def __getattr__(name: str) -> Any:
    # Imported when asked for: MONAI alone takes seconds, and listing files needs none of it.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
