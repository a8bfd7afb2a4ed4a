"""Rejection notes: how an archive is told that objects are not to be used any more (IHE RAD, IOCM profile).

A note is a Key Object Selection document (PS3.3, A.35.4; PS3.16, TID 2010) with one of a few titles. An archive that
knows the profile hides or removes the objects; any other keeps the note beside them.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import CodedConcept
from pydicom import Dataset

from medkit.dicom.writing.finishing import RESEARCH, copy_patient_and_study
from medkit.dicom.writing.uids import derived_uid
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medkit.dicom.writing.maker import Maker

__all__ = ["RejectionReason", "make_rejection_note"]

_SERIES = 95
_CLOCK = ("InstanceCreationDate", "InstanceCreationTime")
_MOMENT = {
    "ContentDate": "19000101",
    "ContentTime": "000000",
}  # of the first object, since a repeat is the same note
_COPIED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID", "Rows", "Columns")
# Whose study it is, as highdicom wants it to be there; what the objects have is copied afterwards, letter by letter.
_RECORDS = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)


class RejectionReason(Enum):
    """Titles of rejection notes (PS3.16, CID 7010): code value and meaning of DCM."""

    QUALITY = ("113001", "Rejected for Quality Reasons")
    PATIENT_SAFETY = ("113037", "Rejected for Patient Safety Reasons")
    RETENTION_EXPIRED = ("113039", "Data Retention Policy Expired")


def make_rejection_note(
    objects: Sequence[Dataset],
    maker: Maker,
    reason: RejectionReason = RejectionReason.QUALITY,
    description: str = "Superseded by a later result.",
) -> KeyObjectSelectionDocument:
    """A note that rejects objects of one study; the same call gives the same note, under the same UID.

    Args:
        objects: headers of what is rejected; pixels are not looked at.
        maker: what made them.
        reason: title of the note.
        description: for the reader of the note, without patients' data.

    Raises:
        UsageError: there are no objects, or they are of several studies.
    """
    ordered = sorted(objects, key=lambda one: str(one.SOPInstanceUID))
    if len({one.StudyInstanceUID for one in ordered}) != 1:
        raise UsageError(
            f"a rejection note: expected objects of one study, got {len(ordered)} of "
            f"{len({one.StudyInstanceUID for one in ordered})}; write one note a study"
        )
    first = ordered[0]
    value, meaning = reason.value
    evidence = [_reference(one) for one in ordered]
    series = derived_uid("rejection", maker.identity, str(first.StudyInstanceUID), value)
    note = KeyObjectSelectionDocument(
        evidence,
        KeyObjectSelection(CodedConcept(value, "DCM", meaning), evidence, description=description),
        series_instance_uid=series,
        series_number=_series_number(first),
        sop_instance_uid=derived_uid(series, description, *(str(one.SOPInstanceUID) for one in ordered)),
        instance_number=1,
        manufacturer=maker.equipment()["manufacturer"],
        manufacturer_model_name=maker.algorithm,
        software_versions=maker.equipment()["software_versions"],
        device_serial_number=maker.equipment()["device_serial_number"],
        series_description=f"{RESEARCH} rejected results",
    )
    copy_patient_and_study(note, first)
    for name in _CLOCK:
        note.pop(name, None)
    for item in note.get("ContributingEquipmentSequence", ()):
        item.pop("ContributionDateTime", None)
    for name, unknown in _MOMENT.items():
        setattr(note, name, first.get(name) or unknown)
    note.preamble = bytes(128)
    return note


def _reference(one: Dataset) -> Dataset:
    reference = Dataset()
    for keyword in _COPIED:
        if keyword in one:
            setattr(reference, keyword, one[keyword].value)
    for keyword in _RECORDS:
        setattr(reference, keyword, None)
    return reference


def _series_number(one: Dataset) -> int:
    try:
        number = int(one.get("SeriesNumber") or 0)
    except ValueError:
        number = 0
    return number // 100 * 100 + _SERIES
