"""Rejection notes: how an archive is told that objects are not to be used any more (IHE RAD, IOCM profile).

A note is a Key Object Selection document (PS3.3, A.35.4; PS3.16, TID 2010) with one of a few titles. An archive that
knows the profile hides or removes the objects; any other keeps the note beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import CodedConcept
from pydicom import Dataset, dcmread

from medkit.dicom.elements import Elements
from medkit.dicom.network.quiet import keep_quiet
from medkit.dicom.rejected import RejectionReason
from medkit.dicom.writing.finishing import RESEARCH, copy_patient_and_study
from medkit.dicom.writing.maker import MANUFACTURER
from medkit.dicom.writing.saving import save
from medkit.dicom.writing.uids import derived_uid
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["make_rejection_note", "rejection_uid", "write_rejection_note"]

_SERIES = 95
_CLOCK = ("InstanceCreationDate", "InstanceCreationTime")
_MOMENT = {
    "ContentDate": "19000101",
    "ContentTime": "000000",
}  # of the first object, since a repeat is the same note
_COPIED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID", "Rows", "Columns")
# Whose study it is, as highdicom wants it to be there; what the objects have is copied afterwards, letter by letter.
_DESCRIPTION = "Superseded by a later result."
_EQUIPMENT = {
    "Manufacturer": "manufacturer",
    "ManufacturerModelName": "manufacturer_model_name",
    "SoftwareVersions": "software_versions",
    "DeviceSerialNumber": "device_serial_number",
}  # to what highdicom calls it
_RECORDS = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)


def write_rejection_note(result: Path) -> Path:
    """Write the note for one result beside its file, as ``NAME.rejection.dcm``; return its path.

    The note follows from the result alone: whatever version of medkit writes it, it has the same UID.

    Raises:
        UsageError: see :func:`make_rejection_note`.
        OSError: the result cannot be read, or the note not be written.
    """
    keep_quiet()
    note = make_rejection_note([dcmread(result, stop_before_pixels=True)])
    path = result.with_suffix(".rejection.dcm")
    save(note, path)
    return path


def rejection_uid(
    uids: Iterable[str],
    reason: RejectionReason = RejectionReason.QUALITY,
    description: str = _DESCRIPTION,
) -> str:
    """SOP Instance UID of the note that rejects objects of these UIDs."""
    return derived_uid("rejection note", reason.value[0], description, *sorted(uids))


def make_rejection_note(
    objects: Sequence[Dataset],
    reason: RejectionReason = RejectionReason.QUALITY,
    description: str = _DESCRIPTION,
) -> KeyObjectSelectionDocument:
    """A note that rejects results of medkit; the same call gives the same note, under the same UID.

    Args:
        objects: headers of what is rejected; pixels are not looked at.
        reason: title of the note.
        description: for the reader of the note, without patients' data.

    Raises:
        UsageError: there are no objects, they are of several studies, or medkit has not made them all.
    """
    ordered = sorted(objects, key=lambda one: str(one.SOPInstanceUID))
    if len({one.StudyInstanceUID for one in ordered}) != 1:
        raise UsageError(
            f"a rejection note: expected objects of one study, got {len(ordered)} of "
            f"{len({one.StudyInstanceUID for one in ordered})}; write one note a study"
        )
    if any(one.get("Manufacturer") != MANUFACTURER for one in ordered):
        raise UsageError(
            "a rejection note: expected results of medkit, got another's; let others reject theirs"
        )
    first = ordered[0]
    value, meaning = reason.value
    evidence = [_reference(one) for one in ordered]
    equipment = {keyword: first[keyword].value for keyword in _EQUIPMENT if keyword in first}
    series = derived_uid("rejection", str(first.StudyInstanceUID), value, *map(str, equipment.values()))
    note = KeyObjectSelectionDocument(
        evidence,
        KeyObjectSelection(CodedConcept(value, "DCM", meaning), evidence, description=description),
        series_instance_uid=series,
        series_number=_series_number(first),
        sop_instance_uid=rejection_uid((str(one.SOPInstanceUID) for one in ordered), reason, description),
        instance_number=1,
        **{_EQUIPMENT[keyword]: value for keyword, value in equipment.items()},
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
    number = Elements(one, str(one.SOPInstanceUID)).whole("SeriesNumber") or 0
    return number // 100 * 100 + _SERIES
