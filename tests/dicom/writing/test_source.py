"""Sources: results refer to the images that their voxels came from, or are refused."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from pydicom import dcmread

from medkit.dicom import read
from medkit.dicom.writing.segmentation import make_segmentation
from medkit.dicom.writing.source import open_source
from medkit.errors import CaseError
from tests.dicom.writing.sources import MAKER, geometry, some_labels, source_with_bytes, write_series
from tests.dicom_series import make


@pytest.fixture
def series(tmp_path):
    array, affine = geometry("LPS", oblique=True)
    return write_series(tmp_path / "series", array, affine, order=False)


def change(path, **attributes):
    image = dcmread(path)
    for name, value in attributes.items():
        setattr(image, name, value)
    image.save_as(path)


def refused(volume):
    with pytest.raises(CaseError) as error:
        open_source(volume)
    assert "\n" not in str(error.value)
    return error.value.code


def test_identity_is_of_the_images_and_not_of_their_files(series, tmp_path):
    first = open_source(series).identity
    moved = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "series", moved)
    again = replace(
        series, frames=tuple(replace(f, path=moved / f.path.name) for f in series.frames), name="other"
    )
    assert open_source(again).identity == first
    other_voxel = series.array.copy()
    other_voxel[0, 0, 0] += 1
    assert open_source(replace(series, array=other_voxel)).identity != first
    other_uid = replace(series, series_instance_uid="1.2.3")
    assert open_source(other_uid).identity != first
    assert len({first, *(open_source(series, edition).identity for edition in (0, 1, 2))}) == 3


def test_slices_in_a_wrong_order_are_found(series):
    # A segmentation on these frames would be upside down.
    assert refused(replace(series, frames=series.frames[::-1])) == "source-changed"


def test_a_file_that_is_another_by_now(series):
    change(series.frames[1].path, SOPInstanceUID="1.2.3")
    assert refused(series) == "source-changed"


@pytest.mark.parametrize("content", [None, b"", b"no DICOM at all", bytes(200)])
def test_a_file_that_is_gone_or_broken(series, content):
    path = series.frames[1].path
    path.unlink() if content is None else path.write_bytes(content)
    assert refused(series) == "source-changed"


@pytest.mark.parametrize(
    ("name", "value"),
    [("PatientID", "other"), ("PatientName", "Other^One"), ("PatientBirthDate", "19700102"), ("PatientSex", "M"),
     ("StudyInstanceUID", "1.2.3"), ("StudyDate", "20200103"), ("StudyTime", "030406"), ("StudyID", "S2"),
     ("AccessionNumber", "A2"), ("ReferringPhysicianName", "Other^One"), ("AccessionNumber", None),
     ("SeriesInstanceUID", "1.2.3"), ("FrameOfReferenceUID", "1.2.3"),
     ("ImageOrientationPatient", [0, 1, 0, 1, 0, 0])],
)  # fmt: skip
def test_an_image_of_something_else(series, name, value):
    change(series.frames[2].path, **{name: value})
    assert refused(series) == "source-mixed"


def test_the_same_bytes_in_another_character_set_are_another_name(tmp_path):
    array, affine = geometry("LPS")
    volume = write_series(tmp_path, array, affine, SpecificCharacterSet="ISO_IR 100", PatientName="Muñoz^Ana")
    open_source(volume)
    path = volume.frames[2].path
    path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"ISO_IR 101"))  # where it is Mu\u0144oz
    assert refused(volume) == "source-mixed"


def test_what_is_empty_in_one_image_and_absent_in_another_is_the_same(tmp_path):
    names = ("AccessionNumber", "StudyID", "PatientBirthDate", "ReferringPhysicianName")
    array, affine = geometry()
    volume = write_series(tmp_path, array, affine, **dict.fromkeys(names))
    change(volume.frames[2].path, **dict.fromkeys(names, ""))
    assert open_source(volume).header.get("AccessionNumber") is None


@pytest.mark.parametrize("name", ["StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"])
def test_images_that_nothing_can_refer_to(tmp_path, name):
    array, affine = geometry()
    volume = write_series(tmp_path, array, affine, **{name: None})
    assert refused(volume) == "source-incomplete"
    with pytest.raises(CaseError, match=r"^series (\d[\d.]+|003): expected images"):
        open_source(volume)


def test_a_volume_that_was_resampled(series):
    assert refused(replace(series, frames=())) == "source-resampled"


def test_members_of_a_zip(series, tmp_path):
    with zipfile.ZipFile(tmp_path / "series.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for frame in series.frames:
            archive.write(frame.path, frame.path.name)
    frames = tuple(replace(f, path=tmp_path / "series.zip", member=f.path.name) for f in series.frames)
    assert open_source(replace(series, frames=frames)).identity == open_source(series).identity
    gone = replace(series, frames=tuple(replace(f, member="gone") for f in frames))
    assert refused(gone) == "source-changed"


def test_what_the_source_lacks_stays_empty(tmp_path):
    array, affine = geometry()
    lacking = (
        "PatientBirthDate",
        "PatientSex",
        "StudyID",
        "AccessionNumber",
        "SliceThickness",
        "SeriesNumber",
    )
    volume = write_series(tmp_path, array, affine, **dict.fromkeys(lacking))
    dataset = make_segmentation(open_source(volume), some_labels(array.shape), affine, MAKER)
    assert all(dataset[name].is_empty for name in lacking[:2])
    thickness = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness
    assert float(thickness) == pytest.approx(3)  # as far as it is to the next slice


@pytest.mark.parametrize(
    ("dates", "moment"),
    [({}, ("20200102", "031500")), ({"SeriesTime": None}, ("20200102", "000000")),
     ({"SeriesDate": None, "StudyDate": None}, ("19000101", "000000")),
     ({"SeriesDate": "", "StudyDate": "20190203"}, ("20190203", "030405"))],
)  # fmt: skip
def test_the_moment_is_that_of_the_source(tmp_path, dates, moment):
    array, affine = geometry()
    assert open_source(write_series(tmp_path, array, affine, **dates)).moment == moment


# Frames of several volumes in one object, places in shared groups, one object a frame, positions stated with a comma.
@pytest.mark.parametrize(
    "kind",
    ["enhanced-shuffled", "enhanced-b-values-interleaved", "enhanced-one-frame", "enhanced-per-frame",
     "enhanced-two-objects", "enhanced-concatenation", "legacy-converted", "one-frame-said", "comma-in-position",
     "preamble-absent", "deflated", "dose"],
)  # fmt: skip
def test_sources_of_other_forms(tmp_path, errors, kind):
    make(kind, tmp_path / "series")
    volumes = read(tmp_path / "series").volumes
    assert volumes
    for volume in volumes:
        source = open_source(volume)
        dataset = make_segmentation(source, np.full(volume.array.shape, 2), volume.affine, MAKER)
        path = tmp_path / f"{volume.name}.dcm"
        dataset.save_as(path)
        assert errors(path) == []
        told = []
        for item in dataset.PerFrameFunctionalGroupsSequence:
            (reference,) = item.DerivationImageSequence[0].SourceImageSequence
            told.append((reference.ReferencedSOPInstanceUID, int(reference.get("ReferencedFrameNumber", 1))))
        assert set(told) == {(frame.sop_instance_uid, frame.frame) for frame in volume.frames}
        instances = [item.ReferencedSOPInstanceUID for item in dataset.SourceImageSequence]
        assert sorted(set(instances)) == sorted(instances)


@pytest.mark.parametrize(
    ("stored", "number"),
    [
        (b"12", 12),
        (b" 12 ", 12),
        (b"-4", -4),
        (b"111111111111", 111111111111),
        (b"", None),
        (b"2.5 ", None),
        (b"1e400 ", None),
        (b"inf ", None),
        (b"nan ", None),
        (b"1_0 ", None),
        (b"7" * 70, None),
    ],
)
def test_the_number_of_a_series_is_what_the_reader_sees(tmp_path, stored, number):
    source = source_with_bytes(tmp_path / "source", "IS", SeriesNumber=stored)
    assert source.number == number
    assert source.series_number(7) == max(number or 0, 0) % 10**7 * 100 + 7
    (volume,) = read(tmp_path / "source").volumes
    assert volume.facts["series_number"] == number
