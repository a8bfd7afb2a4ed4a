"""What is no DICOM file is told from what may be a slice that is missed."""

from __future__ import annotations

import shutil
import zipfile

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from medkit.dicom import read
from tests.dicom_series.stacks import save

PAGE = b"<html><body>404 Not found</body></html>"


def spoilt(folder, name, content):
    """The last slice under another name, with another content if there is one."""
    last = folder / "008.dcm"
    last.rename(folder / name)
    if content is not None:
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("008.dcm", PAGE, "misnamed"),
        ("slice.IMA", PAGE, "misnamed"),
        ("008.dcm", b"", "empty-file"),
    ],
)
def test_a_slice_that_is_another_kind_of_file_refuses_its_series(name, content, code, stack, written):
    reading = read(spoilt(written(stack.datasets), name, content))
    assert not reading.volumes
    assert [finding.code for finding in reading.refused] == ["broken-file", code]
    volumes = read(spoilt(written(stack.datasets, "again"), name, content), repairs=["drop-broken"]).volumes
    assert [volume.array.shape[2] for volume in volumes] == [8]


@pytest.mark.parametrize("content", [PAGE, b""])
def test_names_without_a_suffix_are_compared_with_those_beside(content, stack, tmp_path):
    for number, dataset in enumerate(stack.datasets):
        save(tmp_path / f"IM{number:04}", dataset)
    (tmp_path / "README").write_bytes(content)
    assert len(read(tmp_path).volumes) == 1
    (tmp_path / "IM0008").write_bytes(content)
    reading = read(tmp_path)
    assert not reading.volumes
    assert reading.refused[0].code == "broken-file"


def test_a_link_to_nothing_refuses_its_series(stack, written):
    folder = written(stack.datasets)
    (folder / "008.dcm").unlink()
    (folder / "008.dcm").symlink_to(folder / "annex")
    reading = read(folder)
    assert not reading.volumes
    assert [finding.code for finding in reading.refused] == ["broken-file", "unreachable"]
    assert str(folder) not in "".join(finding.message for finding in reading.refused)


@pytest.mark.parametrize("name", [".008.dcm", "DICOMDIR", "008.zip.part"])
def test_a_slice_is_read_whatever_its_name(name, stack, written, tmp_path):
    folder = spoilt(written(stack.datasets), name, None)
    shutil.make_archive(str(tmp_path / "study"), "zip", folder)
    with zipfile.ZipFile(tmp_path / "study.zip") as archive:
        assert name in archive.namelist()
    for source in (folder, tmp_path / "study.zip"):
        (volume,) = read(source).volumes
        assert volume.array.shape[2] == 9


def test_what_may_stand_at_the_end_of_a_zip_may_stand_in_pixels(stack, written):
    pixels = stack.datasets[8].PixelData
    stack.datasets[8].PixelData = pixels[:100] + b"PK\x05\x06" + pixels[104:]
    (volume,) = read(written(stack.datasets)).volumes
    assert volume.array.shape[2] == 9


def test_an_index_of_files_counts_for_nothing(stack, written):
    folder = written(stack.datasets)
    index = Dataset()
    index.file_meta = FileMetaDataset()
    index.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    index.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    index.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    index.FileSetID = "A"
    index.save_as(folder / "DICOMDIR", enforce_file_format=True)
    reading = read(folder)
    assert len(reading.volumes) == 1
    assert [finding.code for finding in reading.refusals] == ["directory"]
    assert not reading.refused


def test_hidden_files_of_a_desktop_are_passed_over(stack, written):
    folder = written(stack.datasets)
    (folder / "._000.dcm").write_bytes(b"\0\5\26\7" + bytes(200))
    (folder / ".#000.dcm").symlink_to("user@host.1234")
    reading = read(folder)
    assert len(reading.volumes) == 1
    assert not reading.refusals


def test_a_file_that_names_no_series_beside_others_that_do(stack, written):
    del stack.datasets[8].SeriesInstanceUID
    folder = written(stack.datasets)
    reading = read(folder)
    assert not reading.volumes
    assert [finding.code for finding in reading.refused] == ["broken-file", "no-series-uid"]
    volumes = read(folder, repairs=["drop-broken"]).volumes
    assert [volume.array.shape[2] for volume in volumes] == [8]
