"""Rejection notes are valid, name what they reject, and are the same at every repeat."""

from __future__ import annotations

import pydicom
import pytest
from highdicom.ko import KeyObjectSelectionDocument
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from medkit.dicom.network.content import content_hash
from medkit.dicom.network.dimse import DimseArchive
from medkit.dicom.network.rejection import make_rejection_note, rejection_uid, write_rejection_note
from medkit.dicom.rejected import RejectionReason, rejected_instances
from medkit.dicom.writing import draw_picture, make_segmentation, open_source, save, volume_report
from medkit.errors import UsageError
from tests.dicom.writing import oracles
from tests.dicom.writing.sources import MAKER, geometry, some_labels, write_series


def results(folder, **attributes):
    array, affine = geometry()
    source = open_source(write_series(folder, array, affine, **attributes))
    segments = make_segmentation(source, some_labels(), affine, MAKER)
    return [
        segments,
        volume_report(source, segments, MAKER),
        draw_picture(source, some_labels(), affine, MAKER),
    ]


@pytest.mark.parametrize("reason", RejectionReason)
def test_a_note_is_valid_and_names_all_that_it_rejects(tmp_path, tool, reason):
    tool("dciodvfy")
    rejected = results(tmp_path / "source")
    save(make_rejection_note(rejected, reason), tmp_path / "note.dcm")
    assert oracles.errors(tmp_path / "note.dcm") == []
    note = KeyObjectSelectionDocument.from_dataset(pydicom.dcmread(tmp_path / "note.dcm"))
    assert note.ConceptNameCodeSequence[0].CodeValue == reason.value[0]
    assert note.ConceptNameCodeSequence[0].CodingSchemeDesignator == "DCM"
    for one in rejected:
        assert note.resolve_reference(one.SOPInstanceUID) == (
            one.StudyInstanceUID,
            one.SeriesInstanceUID,
            one.SOPInstanceUID,
        )
    named = {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in note.content.get_references()}
    assert named == {one.SOPInstanceUID for one in rejected}


def test_it_is_in_the_study_of_the_patient_letter_by_letter(tmp_path):
    rejected = results(
        tmp_path / "source", SpecificCharacterSet="ISO_IR 144", PatientName="Люкceмбypг", StudyTime="3:04"
    )
    save(make_rejection_note(rejected), tmp_path / "note.dcm")
    note = pydicom.dcmread(tmp_path / "note.dcm")
    assert (note.PatientName, note.PatientID, note.StudyTime) == ("Люкceмбypг", "KP-4711", "3:04")
    assert note.StudyInstanceUID == rejected[0].StudyInstanceUID
    assert note.SeriesInstanceUID not in {one.SeriesInstanceUID for one in rejected}
    assert note.SeriesNumber == 395


@pytest.mark.parametrize("stored", [b"inf ", b"1e400 ", b"2.5 ", b"7" * 70])
@pytest.mark.filterwarnings(
    "ignore:Invalid value for VR IS", "ignore:Value .* is not valid", "ignore:The value length"
)
def test_a_number_of_a_series_that_is_none_stops_no_note(tmp_path, stored):
    rejected = results(tmp_path / "source")
    tag = Tag("SeriesNumber")
    rejected[0][tag] = RawDataElement(tag, "IS", len(stored), stored, 0, False, True)
    assert make_rejection_note(rejected[:1]).SeriesNumber == 95


def test_a_repeat_is_the_same_note_and_another_rejection_another_one(tmp_path):
    rejected = results(tmp_path / "source")
    notes = [make_rejection_note(order) for order in (rejected, rejected[::-1])]
    for number, note in enumerate(notes):
        save(note, tmp_path / f"{number}.dcm")
    assert (tmp_path / "0.dcm").read_bytes() == (tmp_path / "1.dcm").read_bytes()
    others = [
        make_rejection_note(rejected[:1]),
        make_rejection_note(rejected, RejectionReason.PATIENT_SAFETY),
        make_rejection_note(rejected, description="Wrong."),
    ]
    assert len({notes[0].SOPInstanceUID, *(other.SOPInstanceUID for other in others)}) == 4


def test_an_archive_keeps_results_and_note_as_they_are(tmp_path, orthanc):
    rejected = results(tmp_path / "source")
    archive = DimseArchive(orthanc.host, orthanc.dicom_port, orthanc.ae_title)
    for number, one in enumerate([*rejected, make_rejection_note(rejected)]):
        path = tmp_path / f"{number}.dcm"
        save(one, path)
        assert archive.send([path]) == {one.SOPInstanceUID: None}
        back = archive.read_back(one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)
        assert content_hash(back) == content_hash(path)


def test_no_objects_and_objects_of_two_studies_are_refused(tmp_path):
    first, *others = results(tmp_path / "source")
    with pytest.raises(UsageError, match="objects of one study, got 0 of 0"):
        make_rejection_note([])
    others[0].StudyInstanceUID = "1.2.3"
    with pytest.raises(UsageError, match="got 2 of 2"):
        make_rejection_note([first, others[0]])


def test_images_are_rejected_by_those_who_made_them(tmp_path):
    first, *_ = results(tmp_path / "source")
    first.Manufacturer = "Scanners"
    with pytest.raises(UsageError, match="expected results of medkit, got another's"):
        make_rejection_note([first])


@pytest.mark.parametrize("number", range(3))
def test_the_note_of_a_file_follows_from_the_file_alone(tmp_path, monkeypatch, number):
    rejected = results(tmp_path / "source", SpecificCharacterSet="ISO_IR 144", PatientName="Люкceмбypг")[
        number
    ]
    save(rejected, tmp_path / "1.seg.dcm")
    path = write_rejection_note(tmp_path / "1.seg.dcm")
    assert path == tmp_path / "1.seg.rejection.dcm"
    first = path.read_bytes()
    note = pydicom.dcmread(path)
    assert note.SOPInstanceUID == rejection_uid([rejected.SOPInstanceUID])
    assert note.DeviceSerialNumber == MAKER.digest
    assert (note.Manufacturer, note.ManufacturerModelName) == ("medkit", MAKER.bundle)
    assert rejected_instances(path) == {rejected.SOPInstanceUID: rejected.SeriesInstanceUID}
    monkeypatch.setattr("medkit.dicom.writing.maker.__version__", "99")
    assert write_rejection_note(tmp_path / "1.seg.dcm").read_bytes() == first
