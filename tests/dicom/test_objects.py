"""Objects are named by their headers, and what may be a missing part of them is told from what is none."""

from __future__ import annotations

import zipfile

import pytest
from pydicom.uid import RLELossless

from medkit.dicom.objects import ObjectUids, find_objects, read_uids
from medkit.errors import CaseError, UsageError
from tests.dicom_series.stacks import save


def uids(dataset):
    return ObjectUids(dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)


def test_objects_of_a_folder_and_of_a_zip(stack, written, tmp_path):
    folder = written(stack.datasets)
    (folder / "README").write_text("not an image")
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    for source in (folder, tmp_path / "study.zip", sorted(folder.iterdir())):
        with find_objects(source) as found:
            assert [one.uids for one in found.objects] == [uids(dataset) for dataset in stack.datasets]
            assert not any(one.cut_short for one in found.objects)
            assert not found.broken
            assert [finding.code for finding in found.others] == ["not-dicom"]
    assert read_uids(folder / "000.dcm") == uids(stack.datasets[0])


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_that_ends_before_its_pixels_do_is_told(stack, tmp_path, compressed):
    dataset = stack.datasets[0]
    if compressed:
        dataset.compress(RLELossless)
    save(tmp_path / "whole.dcm", dataset)
    content = (tmp_path / "whole.dcm").read_bytes()
    for cut in (1, 8, 40):
        (tmp_path / f"cut{cut}.dcm").write_bytes(content[:-cut])
    with find_objects(tmp_path) as found:
        assert {one.source.shown: one.cut_short for one in found.objects} == {
            "whole.dcm": False,
            "cut1.dcm": True,
            "cut8.dcm": True,
            "cut40.dcm": True,
        }
    save(tmp_path / "more.dcm", dataset)
    (tmp_path / "more.dcm").write_bytes(content + b"\xfc\xff\xfc\xffOB\0\0\2\0\0\0\0\0")
    with find_objects(tmp_path / "more.dcm") as found:
        assert not found.objects[0].cut_short, "what follows the pixels is theirs who wrote it"


def test_broken_files_are_told_beside_the_objects_to_which_they_may_belong(stack, written):
    folder = written(stack.datasets)
    content = (folder / "008.dcm").read_bytes()
    (folder / "008.dcm").write_bytes(content[:200])
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "007.dcm").write_bytes(content)
    with find_objects(folder) as found:
        assert [one.source.shown for one in found.broken] == ["008.dcm"]
        here = [one for one in found.objects if one.source.path.parent == folder]
        there = [one for one in found.objects if one.source.path.parent != folder]
        assert [one.finding.code for one in found.broken_beside(here)] == ["truncated"]
        assert found.broken_beside(there) == []


@pytest.mark.parametrize("missing", ["StudyInstanceUID", "SOPInstanceUID"])
def test_an_object_without_a_uid_is_broken(stack, tmp_path, missing):
    dataset = stack.datasets[0]
    save(tmp_path / "a.dcm", dataset)
    del dataset[missing]
    dataset.file_meta.MediaStorageSOPInstanceUID = ""
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=False)
    with find_objects(tmp_path) as found:
        assert [one.finding.code for one in found.broken] == ["no-uid"]
        assert missing in found.broken[0].finding.message
    with pytest.raises(CaseError, match=f"expected a {missing}"):
        read_uids(tmp_path / "a.dcm")


def test_nothing_there_and_no_object(tmp_path):
    with pytest.raises(UsageError, match="got nothing there"), find_objects(tmp_path / "gone"):
        pass
    (tmp_path / "x").write_text("text")
    with pytest.raises(CaseError) as caught:
        read_uids(tmp_path / "x")
    assert caught.value.code == "not-dicom"
    with pytest.raises(CaseError) as caught:
        read_uids(tmp_path / "gone")
    assert caught.value.code == "unreachable"
