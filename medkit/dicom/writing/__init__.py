"""Results as DICOM objects, which belong to the patient and study of their source images.

What belongs here: one file a kind of object, on highdicom, and what all kinds share (where voxels lie, who made them,
how they are identified). What does not: reading series (``medkit.dicom``), and sending.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medkit.dicom.writing.derived_images import derived_images
    from medkit.dicom.writing.maker import Maker
    from medkit.dicom.writing.parametric_map import parametric_map
    from medkit.dicom.writing.picture import picture
    from medkit.dicom.writing.report import volume_report
    from medkit.dicom.writing.results import ResultKind, write_results
    from medkit.dicom.writing.saving import save
    from medkit.dicom.writing.segmentation import SegmentationType, segmentation
    from medkit.dicom.writing.source import Source, open_source

__all__ = [
    "Maker",
    "ResultKind",
    "SegmentationType",
    "Source",
    "derived_images",
    "open_source",
    "parametric_map",
    "picture",
    "save",
    "segmentation",
    "volume_report",
    "write_results",
]

_HOMES = {
    "Maker": "maker",
    "ResultKind": "results",
    "SegmentationType": "segmentation",
    "Source": "source",
    "derived_images": "derived_images",
    "open_source": "source",
    "parametric_map": "parametric_map",
    "picture": "picture",
    "save": "saving",
    "segmentation": "segmentation",
    "volume_report": "report",
    "write_results": "results",
}


def __getattr__(name: str) -> Any:
    # Imported when asked for, as in `medkit.data`: highdicom alone takes a second.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
