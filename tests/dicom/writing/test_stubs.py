from __future__ import annotations

import pytest
from pydicom import dcmread

from medkit.dicom.writing.results import write_results
from medkit.dicom.writing.stubs import is_stub, reduce_to_stub
from tests.dicom.writing.sources import MAKER, geometry, some_labels, write_series


def test_of_every_kind_of_result_class_and_uids_are_left(tmp_path):
    array, affine = geometry()
    volume = write_series(tmp_path / "series", array, affine, PatientName="")
    for path in write_results(volume, some_labels(), affine, MAKER, tmp_path / "results").values():
        before = dcmread(path)
        assert not is_stub(path), "an empty name is there"
        reduce_to_stub(path)
        assert is_stub(path)
        after = dcmread(path)
        assert {element.keyword for element in after} == {
            "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
        }  # fmt: skip
        assert all(before[element.tag] == element for element in after)
        reduce_to_stub(path)
        assert dcmread(path) == after


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"DICM", bytes(128) + b"DICM" + bytes(500), bytes(2000)]
)
def test_what_is_no_object_stays_as_it_is(tmp_path, content):
    path = tmp_path / "a.dcm"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.dcm: expected a DICOM object"):
        reduce_to_stub(path)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_an_object_of_which_a_uid_is_lost_stays_as_it_is(tmp_path, name):
    array, affine = geometry()
    volume = write_series(tmp_path / "series", array, affine)
    path = write_results(volume, some_labels(), affine, MAKER, tmp_path / "results")["seg"]
    damaged = dcmread(path)
    delattr(damaged, name)
    damaged.save_as(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="one is missing"):
        reduce_to_stub(path)
    assert path.read_bytes() == before


def test_a_file_that_is_gone(tmp_path):
    with pytest.raises(FileNotFoundError):
        reduce_to_stub(tmp_path / "none.dcm")
