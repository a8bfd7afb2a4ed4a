"""Files come out without their patients and otherwise as they were, or are left out with a reason."""

from __future__ import annotations

import json
import shutil
import zipfile

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag

from medkit.dicom import Limits, read
from medkit.dicom.confidentiality import Deidentifier
from medkit.dicom.deidentification import RECORD, deidentify
from medkit.errors import UsageError
from tests.dicom.phi import marked_image
from tests.dicom.writing.oracles import errors as dciodvfy
from tests.dicom_series import make
from tests.dicom_series.stacks import save

NOBODY = Deidentifier(b"sixteen bytes or")


def everything_in(folder):
    return b"".join(str(path.relative_to(folder)).encode() + b"\n" + (path.read_bytes() if path.is_file() else b"")
                    for path in sorted(folder.rglob("*")))  # fmt: skip


def volumes_of(folder):
    found = [(volume.array, volume.affine) for volume in read(folder).volumes]
    return sorted(found, key=lambda one: (one[0].shape, float(one[0].sum(dtype=np.float64))))


def check_same_volumes(one, other):
    before, after = volumes_of(one), volumes_of(other)
    assert len(before) == len(after) > 0
    for (array, affine), (same, place) in zip(before, after, strict=True):
        np.testing.assert_array_equal(array, same)
        np.testing.assert_array_equal(affine, place)


def refused(folder, output, **options):
    done = deidentify(folder, output, NOBODY, **options)
    return done.written, [finding.code for finding in done.refusals]


def test_nothing_survives_in_files_their_names_and_the_record(tmp_path):
    made = marked_image()
    source = tmp_path / "Doe_Jane_4711"
    source.mkdir()
    dataset = made.dataset
    dataset.file_meta.SourceApplicationEntityTitle = made.mark("AE")
    dataset.file_meta.PrivateInformationCreatorUID = made.mark("UI")
    dataset.file_meta.PrivateInformation = made.mark("OB")
    dataset.preamble = b"MZ" + made.mark("LO").encode().ljust(126)
    save(source / f"{made.mark('LO')}.dcm", dataset)
    with (source / "trailing.dcm").open("wb") as target:
        target.write(
            next(source.glob("Doe*.dcm")).read_bytes().replace(dataset.SOPInstanceUID.encode(), b"1.2")
        )
    kept = everything_in(source)
    assert all(mark in kept for mark in made.marks)
    assert deidentify(source, tmp_path / "out", NOBODY).written >= 1
    data = everything_in(tmp_path / "out")
    assert [mark for mark in (*made.marks, b"Doe", b"4711", b"MZ") if mark in data] == []


def test_a_series_is_read_as_before(tmp_path):
    make("axial", tmp_path / "in")
    done = deidentify(tmp_path / "in", tmp_path / "out", NOBODY)
    assert (done.written, done.refusals) == (9, ())
    check_same_volumes(tmp_path / "in", tmp_path / "out")
    (patient,) = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    assert len(list(patient.glob("*/*/*.dcm"))) == 9
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    assert record["written"] == 9
    assert record["profile"].startswith("PS3.15")


@pytest.mark.parametrize(
    "name",
    [
        *("enhanced-mr", "enhanced-deflated", "rle", "jpeg-2000", "jpeg-ls", "jpeg-lossless", "deflated"),
        *("big-endian", "implicit-vr", "preamble-absent", "transfer-syntax-absent", "transfer-syntax-lies"),
        *("pet-slope-per-slice", "modality-lut", "parametric-map", "b-values-siemens", "b-values-ge"),
        *("windows-and-overlay", "private-blobs", "high-bits-garbage", "signed-12-bare", "signed-16"),
        *("character-sets", "trailing-padding", "padding-range", "two-studies", "dose"),
    ],
)
def test_kinds_of_series_are_read_as_before(name, tmp_path):
    make(name, tmp_path / "in")
    deidentify(tmp_path / "in", tmp_path / "out", Deidentifier(b"sixteen bytes or", keep_diffusion=True))
    check_same_volumes(tmp_path / "in", tmp_path / "out")


def test_the_same_key_gives_the_same_bytes(tmp_path):
    make("axial", tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in (tmp_path / "in").iterdir():
            archive.write(path, f"Doe/{path.name}")
    for name, source in (("one", "in"), ("two", "in.zip")):
        deidentify(tmp_path / source, tmp_path / name, NOBODY)
    assert everything_in(tmp_path / "one") == everything_in(tmp_path / "two")
    deidentify(tmp_path / "in", tmp_path / "three", Deidentifier(b"another key, 16+"))
    names = [{path.name for path in (tmp_path / one).rglob("*.dcm")} for one in ("one", "three")]
    assert names[0].isdisjoint(names[1])


# What is left out


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"BurnedInAnnotation": "YES"}, "burned-in"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "burned-in"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.1"}, "burned-in"),
        ({"ConversionType": "WSD"}, "burned-in"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "burned-in"),
        ({"ImageType": ["DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT"]}, "burned-in"),
        ({"SeriesDescription": "Patient Protocol"}, "burned-in"),
        ({"SeriesDescription": "Dose Report"}, "burned-in"),
        ({"SamplesPerPixel": 3}, "burned-in"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.9.4.1"}, "words-alone"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66"}, "words-alone"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.4711"}, "no-class"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.22"}, "words-alone"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"}, "words-alone"),
        ({"SOPClassUID": "1.2.840.113619.4.30"}, "no-class"),
    ],
)
def test_what_may_show_words_is_left_out(values, code, stack, written, tmp_path):
    for name, value in values.items():
        setattr(stack.datasets[0], name, value)
    folder = written(stack.datasets[:2])
    assert refused(folder, tmp_path / "out") == (1, [code])
    assert json.loads((tmp_path / "out" / RECORD).read_text())["refused"] == {code: 1}


@pytest.mark.parametrize(
    "values",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "PROTON_DENSITY"]},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"},
        {"SeriesDescription": "t1 prot"},
    ],
)
def test_what_only_sounds_like_words_is_taken(values, stack, written, tmp_path):
    for name, value in values.items():
        setattr(stack.datasets[0], name, value)
    assert refused(written(stack.datasets[:1]), tmp_path / "out") == (1, [])


def test_words_behind_native_pixels_are_refused(stack, written, tmp_path):
    stack.datasets[0].PixelData += b"PATIENT JANE DOE"
    assert refused(written(stack.datasets[:2]), tmp_path / "out") == (1, ["excess-pixels"])


def test_movies_and_images_in_boxes_are_refused(stack, written, tmp_path):
    for dataset, syntax in zip(
        stack.datasets, ("1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.90"), strict=False
    ):
        dataset.PixelData = encapsulate([b"\0\0\0\x0cjP  JANE DOE" + bytes(100)])
        dataset["PixelData"].is_undefined_length, dataset["PixelData"].VR = True, "OB"
        dataset.file_meta.TransferSyntaxUID = syntax
    assert refused(written(stack.datasets[:2]), tmp_path / "out") == (0, ["undecodable"] * 2)


def test_a_picture_that_says_it_has_no_words_is_taken(stack, written, tmp_path):
    first = stack.datasets[0]
    first.SOPClassUID, first.BurnedInAnnotation = "1.2.840.10008.5.1.4.1.1.7", "NO"
    assert refused(written([first]), tmp_path / "out") == (1, [])


def test_an_overlay_in_the_pixels_is_cleared_or_refused(stack, written, tmp_path):
    first = stack.datasets[0]
    first.BurnedInAnnotation = "NO"
    pixels = np.frombuffer(first.PixelData, "<u2")
    first.PixelData = (pixels | 0x8000).tobytes()
    first.add_new(0x60000010, "US", first.Rows)
    first.add_new(0x60000102, "US", 15)
    folder = written([first])
    assert refused(folder, tmp_path / "out") == (1, [])
    (path,) = (tmp_path / "out").rglob("*.dcm")
    after = dcmread(path)
    assert (after.pixel_array == pixels.reshape(after.Rows, -1)).all()
    assert 0x60000010 not in after
    first.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    save(folder / "000.dcm", first)
    assert refused(folder, tmp_path / "rle") == (0, ["burned-in"])


def test_broken_files_and_elements_are_left_out(stack, written, tmp_path):
    folder = written(stack.datasets[:3])
    (folder / "003.dcm").write_bytes(b"")
    (folder / "notes.txt").write_text("Jane Doe")
    broken = dcmread(folder / "001.dcm")
    broken[0x00081140] = RawDataElement(Tag(0x00081140), "SQ", 4, b"Doe!", 0, False, True)
    broken.save_as(folder / "001.dcm")
    written_count, codes = refused(folder, tmp_path / "out")
    assert written_count == 2
    assert sorted(codes) == ["broken-elements", "empty-file", "not-dicom"]
    assert b"Doe" not in everything_in(tmp_path / "out")


def test_two_objects_of_one_uid(stack, written, tmp_path):
    folder = written(stack.datasets[:2])
    shutil.copy(folder / "000.dcm", folder / "copy.dcm")
    assert refused(folder, tmp_path / "out") == (2, ["duplicate"])


def test_what_inflates_beyond_the_limits(tmp_path):
    make("deflated", tmp_path / "in")
    count = len(list((tmp_path / "in").iterdir()))
    assert refused(tmp_path / "in", tmp_path / "out", limits=Limits(series_bytes=500)) == (
        0,
        ["too-large"] * count,
    )


def test_a_folder_that_holds_something_is_not_written_to(stack, written, tmp_path):
    folder = written(stack.datasets)
    with pytest.raises(UsageError, match="expected an empty folder"):
        deidentify(folder, folder, NOBODY)


# Real objects, and a validator


def test_no_new_error_by_the_validator(tool, tmp_path):
    tool("dciodvfy")
    make("enhanced-mr", tmp_path / "in")
    make("axial", tmp_path / "in")
    deidentify(tmp_path / "in", tmp_path / "out", NOBODY)

    def found(folder):
        return {line for path in folder.rglob("*.dcm") for line in dciodvfy(path)}

    assert found(tmp_path / "out") <= found(tmp_path / "in")


def test_a_real_study(real_data, tmp_path):
    source = real_data / "dicom" / "prostatex_0000"
    done = deidentify(source, tmp_path / "out", NOBODY)
    assert {finding.code for finding in done.refusals} <= {"not-dicom"}
    check_same_volumes(source, tmp_path / "out")
    before = [dcmread(path, stop_before_pixels=True) for path in source.rglob("*.dcm")]
    data = everything_in(tmp_path / "out")
    for name in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert not any(str(dataset.get(name)).encode() in data for dataset in before), name
    assert str(before[0].PatientID).encode() not in data
    assert isinstance(before[0], Dataset)


@pytest.mark.parametrize("name", ["dicom2nifti_odd/philips_enhanced", "totalseg_ct_j2k", "dcmqi_seg"])
def test_real_series_are_read_as_before(name, real_data, tmp_path):
    deidentify(real_data / "dicom" / name, tmp_path / "out", NOBODY)
    check_same_volumes(real_data / "dicom" / name, tmp_path / "out")
