"""What a rejection note takes back (IHE Radiology, Imaging Object Change Management, RAD TF-2 4.66.4.1.3)."""

from __future__ import annotations

import warnings
from enum import Enum
from typing import TYPE_CHECKING

from pydicom.uid import KeyObjectSelectionDocumentStorage

from medkit.dicom.findings import Refused
from medkit.dicom.instance import read_instance
from medkit.dicom.limits import Limits
from medkit.dicom.sources import SourceFile
from medkit.errors import CaseError

if TYPE_CHECKING:
    from pathlib import Path

    from medkit.dicom.elements import Elements

__all__ = ["NOTE_CLASS", "RejectionReason", "rejected_instances"]

NOTE_CLASS = str(KeyObjectSelectionDocumentStorage)  # of rejection notes, and of other key object selections


class RejectionReason(Enum):
    """Titles of rejection notes (PS3.16, CID 7011): code value and meaning of DCM."""

    QUALITY = ("113001", "Rejected for Quality Reasons")
    PATIENT_SAFETY = ("113037", "Rejected for Patient Safety Reasons")
    WRONG_WORKLIST_ENTRY = ("113038", "Incorrect Modality Worklist Entry")
    RETENTION_EXPIRED = ("113039", "Data Retention Policy Expired")


_TITLES = {reason.value[0] for reason in RejectionReason}


def rejected_instances(path: Path) -> dict[str, str]:
    """The instances that a note rejects.

    Args:
        path: a file of any kind.

    Returns:
        SOP to Series Instance UID; nothing for a file that is no rejection note, or that the reader refuses.

    Raises:
        CaseError: ``note-unreadable``, it is such a note, and does not say what it rejects; or it may be one.
        OSError: the file cannot be read.
    """
    try:
        found = read_instance(SourceFile(path, path.name, path.stat().st_size), Limits())
    except Refused:
        return {}
    if found.sop_class_uid != KeyObjectSelectionDocumentStorage:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on what the reader has judged
        try:
            rejects = _rejects(found.elements)
            references = _references(found.elements) if rejects else {}
        except Refused as refused:
            raise _unreadable(path, "a broken one") from refused
    if rejects and (not references or not all((*references.keys(), *references.values()))):
        raise _unreadable(path, "one that does not")
    return references


def _unreadable(path: Path, got: str) -> CaseError:
    return CaseError(
        "note-unreadable",
        f"{path.name}: expected a rejection note that says which images it rejects, got {got}; send it again",
    )


def _rejects(note: Elements) -> bool:
    """By its title, which every selection has. One whose scheme is not said may be one of ours.

    Raises:
        Refused: ``bad-value``, it has no title.
    """
    titles = note.items("ConceptNameCodeSequence")
    values = [
        next(filter(None, map(title.text, ("CodeValue", "LongCodeValue", "URNCodeValue"))), "")
        for title in titles
    ]
    if not values or not all(values):
        raise Refused("bad-value", f"{note.where}: expected a selection with a title, got none")
    schemes = [title.text("CodingSchemeDesignator") or "DCM" for title in titles]
    return any(value in _TITLES and scheme == "DCM" for value, scheme in zip(values, schemes, strict=True))


def _references(note: Elements) -> dict[str, str]:
    return {
        instance.text("ReferencedSOPInstanceUID"): series.text("SeriesInstanceUID")
        for study in note.items("CurrentRequestedProcedureEvidenceSequence")
        for series in study.items("ReferencedSeriesSequence")
        for instance in series.items("ReferencedSOPSequence")
    }
