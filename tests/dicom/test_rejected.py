"""Only rejection notes reject."""

from __future__ import annotations

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, KeyObjectSelectionDocumentStorage, MRImageStorage

from medkit.dicom.rejected import rejected_instances
from medkit.errors import CaseError


def selection(path, *, title="113001", scheme="DCM", kind=KeyObjectSelectionDocumentStorage):
    note = Dataset()
    note.file_meta = FileMetaDataset()
    note.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    note.SOPClassUID, note.SOPInstanceUID = kind, "1.2.3"
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


@pytest.mark.parametrize("other", [{"title": "113000"}, {"scheme": "99OTHER"}, {"kind": MRImageStorage}])
def test_other_objects_reject_nothing(tmp_path, other):
    assert rejected_instances(selection(tmp_path / "a.dcm", **other)) == {}


@pytest.mark.parametrize("size", [0, 100, 200, 300])
def test_files_that_are_no_note_reject_nothing(tmp_path, size):
    path = selection(tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes()[:size])
    assert rejected_instances(path) == {}


def without_evidence(note):
    del note.CurrentRequestedProcedureEvidenceSequence


def without_an_instance(note):
    study = note.CurrentRequestedProcedureEvidenceSequence[0]
    del study.ReferencedSeriesSequence[1].ReferencedSOPSequence[0].ReferencedSOPInstanceUID


@pytest.mark.parametrize("spoil", [without_evidence, without_an_instance])
def test_a_note_that_does_not_say_what_it_rejects_is_not_passed_over(tmp_path, spoil):
    path = selection(tmp_path / "a.dcm")
    note = dcmread(path)
    spoil(note)
    note.save_as(path)
    with pytest.raises(CaseError, match=r"^a.dcm: expected a rejection note that says") as error:
        rejected_instances(path)
    assert error.value.code == "note-unreadable"
