"""Only rejection notes reject."""

from __future__ import annotations

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
    MRImageStorage,
)

from medkit.dicom import read
from medkit.dicom.limits import Limits
from medkit.dicom.opening import Broken, open_file
from medkit.dicom.rejected import rejected_instances
from medkit.dicom.sources import SourceFile
from medkit.errors import CaseError


def selection(path, *, title="113001", scheme="DCM", kind=KeyObjectSelectionDocumentStorage):
    note = Dataset()
    note.file_meta = FileMetaDataset()
    note.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    note.SOPClassUID, note.SOPInstanceUID, note.SeriesInstanceUID = kind, "1.2.3", "1.2.4"
    code, study = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator = title, scheme
    note.ConceptNameCodeSequence = [code]
    study.ReferencedSeriesSequence = []
    for series_uid, instances in {"1.4": ("1.4.1", "1.4.2"), "1.5": ("1.5.1",)}.items():
        series = Dataset()
        series.SeriesInstanceUID, series.ReferencedSOPSequence = series_uid, []
        for uid in instances:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = MRImageStorage, uid
            series.ReferencedSOPSequence.append(item)
        study.ReferencedSeriesSequence.append(series)
    note.CurrentRequestedProcedureEvidenceSequence = [study]
    note.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("title", ["113001", "113037", "113038", "113039"])
def test_a_note_rejects_what_it_refers_to(tmp_path, title):
    found = rejected_instances(selection(tmp_path / "a.dcm", title=title))
    assert found == {"1.4.1": "1.4", "1.4.2": "1.4", "1.5.1": "1.5"}


@pytest.mark.parametrize(
    "other",
    [
        {"title": "113000"},
        {"scheme": "99OTHER"},
        {"title": "4711", "scheme": "99OTHER"},
        {"kind": MRImageStorage},
    ],
)
def test_other_objects_reject_nothing(tmp_path, other):
    assert rejected_instances(selection(tmp_path / "a.dcm", **other)) == {}


@pytest.mark.parametrize("data", [b"", b"a text", bytes(200)])
def test_files_that_are_no_object_reject_nothing(tmp_path, data):
    path = tmp_path / "a.dcm"
    path.write_bytes(data)
    assert rejected_instances(path) == {}


def test_a_note_that_was_cut_anywhere_is_refused_by_the_reader_or_here(tmp_path):
    data = selection(tmp_path / "a.dcm").read_bytes()
    path, refused_here = tmp_path / "cut.dcm", set()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        if isinstance(open_file(SourceFile(path, path.name, size), Limits()), Broken):
            assert rejected_instances(path) == {}
            continue
        refused_here.add(size)
        with pytest.raises(CaseError, match=r"expected a rejection note"):
            rejected_instances(path)
    assert len(refused_here) > 2  # cut between its elements


def without_evidence(note):
    del note.CurrentRequestedProcedureEvidenceSequence


def without_an_instance(note):
    study = note.CurrentRequestedProcedureEvidenceSequence[0]
    del study.ReferencedSeriesSequence[1].ReferencedSOPSequence[0].ReferencedSOPInstanceUID


def without_a_title(note):
    note.ConceptNameCodeSequence = []


def without_a_code(note):
    del note.ConceptNameCodeSequence[0].CodeValue


@pytest.mark.parametrize("spoil", [without_evidence, without_an_instance, without_a_title, without_a_code])
def test_a_note_that_does_not_say_what_it_rejects_is_not_passed_over(tmp_path, spoil):
    path = selection(tmp_path / "a.dcm")
    note = dcmread(path)
    spoil(note)
    note.save_as(path)
    with pytest.raises(CaseError, match=r"^a.dcm: expected a rejection note that says") as error:
        rejected_instances(path)
    assert error.value.code == "note-unreadable"


def only_in_the_preamble(note):
    del note.SOPClassUID


def without_a_scheme(note):
    del note.ConceptNameCodeSequence[0].CodingSchemeDesignator


def deflated(note):
    note.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


@pytest.mark.parametrize("change", [only_in_the_preamble, without_a_scheme, deflated])
def test_a_note_is_known_however_it_is_written(tmp_path, change):
    note = dcmread(selection(tmp_path / "a.dcm"))
    change(note)
    note.save_as(tmp_path / "b.dcm")
    assert len(rejected_instances(tmp_path / "b.dcm")) == 3
    (tmp_path / "c.dcm").write_bytes((tmp_path / "b.dcm").read_bytes()[128:])  # without its preamble
    assert len(rejected_instances(tmp_path / "c.dcm")) == 3


def test_a_reading_tells_of_notes_whatever_their_modality_and_series(tmp_path, stack, written):
    note = dcmread(selection(tmp_path / "a.dcm"))
    image = stack.datasets[0]
    for name in (
        "SeriesInstanceUID",
        "StudyInstanceUID",
        "PatientID",
        "PatientName",
        "PatientBirthDate",
        "PatientSex",
    ):
        if name in image:
            note[name] = image[name]
    folder = written(stack.datasets)
    note.save_as(folder / "z.dcm")
    (series,) = read(folder).series
    assert series.volumes
    assert series.sop_classes == {image.SOPClassUID, KeyObjectSelectionDocumentStorage}
