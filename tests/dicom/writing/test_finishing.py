"""What every kind of object has: patient and study of the source, RESEARCH, no clock, no preamble of others."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.datadict import keyword_for_tag

from medkit.dicom.writing.derived_images import DerivedModality, make_derived_images
from medkit.dicom.writing.finishing import series_description
from medkit.dicom.writing.parametric_map import make_parametric_map
from medkit.dicom.writing.picture import draw_picture
from medkit.dicom.writing.report import volume_report
from medkit.dicom.writing.saving import save
from medkit.dicom.writing.segmentation import SegmentationType, make_segmentation
from medkit.dicom.writing.source import open_source
from tests.dicom.writing.oracles import read_back
from tests.dicom.writing.sources import MAKER, NAMES, some_labels, source_with, source_with_bytes

PATIENT_AND_STUDY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyInstanceUID", "StudyDate",
    "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName", "StudyDescription",
)  # fmt: skip


def labels_of(source):
    return some_labels(source.volume.array.shape)


def segments(source, maker=MAKER, kind=SegmentationType.BINARY):
    return make_segmentation(source, labels_of(source), source.volume.affine, maker, segmentation_type=kind)


def derived(source, maker=MAKER, modality=DerivedModality.MR):
    array = source.volume.array * 0.37
    return make_derived_images(
        source, array, source.volume.affine, maker, modality=modality, what="synthesis"
    )[1]


def entropy(source, maker=MAKER):
    values = np.random.default_rng(0).random(source.volume.array.shape)
    return make_parametric_map(source, values, source.volume.affine, maker)


MAKERS = {
    "binary segmentation": segments,
    "labelmap segmentation": lambda source, maker=MAKER: segments(source, maker, SegmentationType.LABELMAP),
    "report": lambda source, maker=MAKER: volume_report(source, segments(source, maker), maker, ["a gap"]),
    "picture": lambda source, maker=MAKER: draw_picture(
        source, labels_of(source), source.volume.affine, maker
    ),
    "MR": derived,
    "CT": lambda source, maker=MAKER: derived(source, maker, DerivedModality.CT),
    "parametric map": entropy,
}
every_kind = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@pytest.mark.parametrize("name", [name for name in MAKERS if "labelmap" not in name])  # unknown to dciodvfy
def test_the_validator_has_nothing_to_say(source, tmp_path, errors, name):
    make = MAKERS[name]
    save(make(source), tmp_path / "made.dcm")
    assert errors(tmp_path / "made.dcm") == []


@every_kind
def test_a_repeat_gives_the_same_bytes(source, tmp_path, monkeypatch, make):
    save(make(source), tmp_path / "first.dcm")
    later = time.time() + 100_000
    monkeypatch.setattr(time, "time", lambda: later)
    again = open_source(source.volume)
    save(make(again), tmp_path / "again.dcm")
    assert (tmp_path / "first.dcm").read_bytes() == (tmp_path / "again.dcm").read_bytes()


@every_kind
def test_another_model_makes_another_object(source, make):
    made, other = make(source), make(source, replace(MAKER, digest="e" * 64))
    assert made.SOPInstanceUID != other.SOPInstanceUID
    assert made.SeriesInstanceUID != other.SeriesInstanceUID
    assert other.DeviceSerialNumber == "e" * 64


@every_kind
def test_patient_and_study_are_those_of_the_source(source, tmp_path, make):
    save(make(source), tmp_path / "made.dcm")
    made = read_back(tmp_path / "made.dcm")
    for name in PATIENT_AND_STUDY:
        assert made[name].value == source.header[name].value, name
    assert made.SeriesInstanceUID != source.header.SeriesInstanceUID
    assert made.SeriesDescription.startswith("RESEARCH")
    assert made.SeriesDescription.endswith(f"kidneys_segmentation, series {source.header.SeriesNumber}")
    assert made.ContentQualification == "RESEARCH"
    assert made.Manufacturer == "medkit"
    assert (made.ManufacturerModelName, made.DeviceSerialNumber) == (MAKER.bundle, MAKER.digest)


@pytest.mark.parametrize(
    ("bundle", "what", "number", "expected"),
    [
        ("hippocampus_segmentation_unet", "segmentation", 2,
         "RESEARCH segmentation, hippocampus_segmentation_unet, series 2"),
        ("hippocampus_segmentation_unet", "segmentation", 1201,
         "RESEARCH segmentation, hippocampus_segmentation, series 1201"),
        ("hippocampus_segmentation_unet", "segmentation", None,
         "RESEARCH segmentation, hippocampus_segmentation_unet"),
        ("brain", "entropy of the posterior over all of the structures there are", 2147483647,
         "RESEARCH entropy of the posterior over all of, series 2147483647"),
        ("b" * 60, "volumes", 3, "RESEARCH volumes, series 3"),
        ("b", "v" * 60, 3, f"RESEARCH {'v' * 45}, series 3"),
    ],
)  # fmt: skip
def test_a_series_is_named_after_the_one_that_it_is_about(tmp_path, bundle, what, number, expected):
    source = source_with(tmp_path / "source", SeriesNumber=number)
    text = series_description(replace(MAKER, bundle=bundle), what, source)
    assert text == expected
    assert len(text) <= 64


def test_a_number_that_is_none_takes_no_room_in_the_name_of_a_series(tmp_path):
    source = source_with_bytes(tmp_path / "source", "IS", SeriesNumber=b"7" * 70)
    assert series_description(MAKER, "segmentation", source) == f"RESEARCH segmentation, {MAKER.bundle}"


@pytest.mark.filterwarnings("ignore:Invalid value for VR IS")
@every_kind
def test_numbers_that_are_infinite_stop_nothing(tmp_path, make):
    stored = {"SeriesNumber": b"1e400 ", "InstanceNumber": b"inf ", "AcquisitionNumber": b"-inf"}
    source = source_with_bytes(tmp_path / "source", "IS", **stored)
    made = make(source)
    assert int(made.SeriesNumber) < 100
    assert made.PatientID == source.header.PatientID


@every_kind
def test_no_clock_is_in_an_object(source, make):
    today = time.strftime("%Y%m%d")
    assert today not in str(make(source))


@every_kind
def test_uids_are_those_of_the_source_or_follow_from_it(source, make):
    made = make(source)
    header = source.header
    known = {header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID, *source.instances}
    found = {}

    def look(dataset: Dataset) -> None:
        for element in dataset:
            if element.VR == "UI":
                for uid in element.value if element.VM > 1 else [element.value]:
                    found.setdefault(str(uid), keyword_for_tag(element.tag))
            elif element.VR == "SQ":
                for item in element.value:
                    look(item)

    look(made)
    foreign = {uid for uid in found if not uid.startswith(("2.25.", "1.2.840.10008."))}
    assert foreign <= known
    assert not [uid for uid in found if uid.startswith("2.25.") and len(uid) < 30]  # no stand-in's


# What the standard's examples are (PS3.5, annexes H to K), and more.
@pytest.mark.parametrize(
    ("character_set", "name"),
    [(["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"), ("ISO_IR 144", "Люкceмбypг"),
     ("ISO_IR 126", "Διονυσιος"), ("ISO_IR 100", "Buc^Jérôme"), ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
     ("GB18030", "Wang^XiaoDong=王^小东"), (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
     ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ"), ("ISO_IR 166", "นามสกุล")],
    ids=["Japanese", "Cyrillic", "Greek", "Latin-1", "UTF-8", "Chinese", "Korean", "Katakana", "Thai"],
)  # fmt: skip
@pytest.mark.parametrize("ours", ["ASCII", "ours do not fit"])
def test_names_survive_in_their_letters(tmp_path, character_set, name, ours):
    given = {"SpecificCharacterSet": character_set, "PatientName": name}
    source = source_with(tmp_path / "source", **given, StudyDescription=name.split("=")[-1].replace("^", ""))
    maker = MAKER if ours == "ASCII" else replace(MAKER, label_names=NAMES | {1: "rein gauche, žluč, 肾"})
    save(segments(source, maker), tmp_path / "made.dcm")
    made = read_back(tmp_path / "made.dcm")
    assert made.PatientName == source.header.PatientName
    assert str(made.PatientName) == name
    assert made.StudyDescription == source.header.StudyDescription
    assert made.SegmentSequence[0].SegmentLabel == maker.label_names[1]
    if ours == "ASCII":  # byte for byte, for archives that compare bytes
        assert made.SpecificCharacterSet == source.header.SpecificCharacterSet
        assert made.PatientName.original_string == source.header.PatientName.original_string


def test_letters_that_pydicom_cannot_write_again_survive_in_another_character_set(tmp_path):
    source = source_with(tmp_path / "source", SpecificCharacterSet="ISO_IR 13", PatientName="ﾔﾏﾀﾞ^ﾀﾛｳ")
    for frame in source.volume.frames:
        content = frame.path.read_bytes()
        frame.path.write_bytes(content.replace(b"Kidneys ", "ﾔﾏ MR 1 ".encode("shift_jis")))
    source = open_source(source.volume)
    assert source.header.StudyDescription == "ﾔﾏ MR 1"
    save(segments(source), tmp_path / "made.dcm")
    made = read_back(tmp_path / "made.dcm")
    assert made.StudyDescription == "ﾔﾏ MR 1"
    assert str(made.PatientName) == "ﾔﾏﾀﾞ^ﾀﾛｳ"


def test_making_one_object_leaves_the_source_as_it_was(source):
    before = [str(header) for header in source.headers]
    for make in MAKERS.values():
        make(source)
    assert [str(header) for header in source.headers] == before


def test_bytes_in_no_declared_character_set_survive(tmp_path):
    source = source_with(tmp_path / "source", PatientName="J?r?me")
    for frame in source.volume.frames:
        frame.path.write_bytes(frame.path.read_bytes().replace(b"J?r?me", b"J\xe9r\xf4me"))
    save(segments(open_source(source.volume)), tmp_path / "made.dcm")
    assert b"J\xe9r\xf4me" in (tmp_path / "made.dcm").read_bytes()


@pytest.mark.parametrize(
    "odd", [{"PatientSex": "female"}, {"StudyDate": "2020.01.02"}, {"PatientBirthDate": "1970"}, {"StudyTime": "3 pm"},
            {"PatientID": None}, {"AccessionNumber": None}, {"PatientName": "A^B^C^D^E^F^G"}]
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize("make", [segments, MAKERS["report"], derived], ids=["segmentation", "report", "MR"])
def test_odd_records_are_copied_as_they_are(tmp_path, odd, make):
    # The archive has them like that: an object that has them otherwise is one of another patient.
    source = source_with(tmp_path / "source", **odd)
    save(make(source), tmp_path / "made.dcm")
    made = read_back(tmp_path / "made.dcm")
    ((name, value),) = odd.items()
    assert str(made[name].value or "") == str(value or "")
