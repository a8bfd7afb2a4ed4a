"""Results as DICOM objects, which belong to the patient and study of their source images.

What belongs here: one file a kind of object, on highdicom, and what all kinds share (where voxels lie, who made them,
how they are identified). What does not: reading series (``medkit.dicom``), and sending.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medkit.dicom.writing.derived_images import DerivedModality, make_derived_images
    from medkit.dicom.writing.maker import Maker
    from medkit.dicom.writing.parametric_map import UNCERTAINTY, MapQuantity, make_parametric_map
    from medkit.dicom.writing.picture import draw_picture
    from medkit.dicom.writing.report import volume_report
    from medkit.dicom.writing.results import ResultKind, write_results
    from medkit.dicom.writing.saving import save
    from medkit.dicom.writing.segmentation import SegmentationType, make_segmentation
    from medkit.dicom.writing.source import Source, open_source

__all__ = [
    "UNCERTAINTY",
    "DerivedModality",
    "Maker",
    "MapQuantity",
    "ResultKind",
    "SegmentationType",
    "Source",
    "draw_picture",
    "make_derived_images",
    "make_parametric_map",
    "make_segmentation",
    "open_source",
    "save",
    "volume_report",
    "write_results",
]

_HOMES = {
    "UNCERTAINTY": "parametric_map",
    "DerivedModality": "derived_images",
    "Maker": "maker",
    "MapQuantity": "parametric_map",
    "ResultKind": "results",
    "SegmentationType": "segmentation",
    "Source": "source",
    "draw_picture": "picture",
    "make_derived_images": "derived_images",
    "make_parametric_map": "parametric_map",
    "make_segmentation": "segmentation",
    "open_source": "source",
    "save": "saving",
    "volume_report": "report",
    "write_results": "results",
}


def __getattr__(name: str) -> Any:
    # Imported when asked for, as in `medkit.data`: highdicom alone takes a second.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
