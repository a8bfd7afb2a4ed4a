"""What a rejection note takes back (IHE Radiology, Imaging Object Change Management, RAD TF-2 4.66.4.1.3)."""

from __future__ import annotations

import warnings
from enum import Enum
from typing import TYPE_CHECKING

import pydicom
from pydicom.uid import KeyObjectSelectionDocumentStorage

from medkit.errors import CaseError

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

__all__ = ["RejectionReason", "rejected_instances"]

_READ = ["SOPClassUID", "ConceptNameCodeSequence", "CurrentRequestedProcedureEvidenceSequence"]


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
        SOP to Series Instance UID; nothing for a file that is no rejection note.

    Raises:
        CaseError: ``note-unreadable``, it is such a note, and does not say what it rejects.
        OSError: the file cannot be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on what the reader has judged
        try:
            note = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_READ)
            rejects = _rejects(note)
        except OSError:
            raise
        except Exception:  # no object, or a broken one, which the reader tells
            return {}
        found = _references(note) if rejects else {}
    if rejects and not found:
        raise CaseError(
            "note-unreadable",
            f"{path.name}: expected a rejection note that says which images it rejects, got one that does not; send it "
            "again",
        )
    return found


def _rejects(note: Dataset) -> bool:
    if note.get("SOPClassUID") != KeyObjectSelectionDocumentStorage:
        return False
    titles = note.get("ConceptNameCodeSequence") or ()
    return any(
        title.get("CodeValue") in _TITLES and title.get("CodingSchemeDesignator") == "DCM" for title in titles
    )


def _references(note: Dataset) -> dict[str, str]:
    """Those of a note; none where one of them cannot be read."""
    try:
        return {
            str(instance.ReferencedSOPInstanceUID): str(series.SeriesInstanceUID)
            for study in note.CurrentRequestedProcedureEvidenceSequence
            for series in study.ReferencedSeriesSequence
            for instance in series.ReferencedSOPSequence
        }
    except Exception:  # whatever pydicom meets in a broken sequence
        return {}
