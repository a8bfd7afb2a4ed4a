"""What rules choose by is what the headers of all slices tell, and no more."""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from medkit.batch.identity import hash_uid
from medkit.batch.rules import FACTS
from medkit.dicom import inspect, read
from medkit.dicom.facts import is_own_result, rule_facts, series_facts
from medkit.dicom.findings import Refused
from medkit.dicom.writing import make_derived_images, make_segmentation, open_source, save
from medkit.dicom.writing.derived_images import DerivedModality
from tests.dicom.writing.sources import MAKER, geometry, some_labels, write_series
from tests.dicom_series.multiframe import coding_of, enhanced, frames_of, grouped, item, write_enhanced
from tests.dicom_series.stacks import Stack
from tests.dicom_series.stacks import save as save_file


def facts_of(folder, **options):
    (volume,) = read(folder, **options).volumes
    return rule_facts(volume)


@pytest.fixture
def told(stack, written):
    """The facts on a stack whose slices have some values."""

    def tell(per_slice=None, **values):
        for number, dataset in enumerate(stack.datasets):
            for name, value in values.items():
                setattr(dataset, name, value)
            for name, value in (per_slice(number) if per_slice else {}).items():
                setattr(dataset, name, value)
        return facts_of(written(stack.datasets))

    return tell


def test_all_that_a_rule_asks_for(stack, told):
    facts = told(
        BodyPartExamined="HEAD ",
        SeriesDescription="T1 mprage",
        SliceThickness="1.5",
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        ContrastBolusAgent="Gadovist",
    )
    assert tuple(facts) == FACTS
    identity = stack.identity
    assert facts["study"] == hash_uid(identity.study)
    assert facts["frame_of_reference"] == hashlib.sha256(identity.frame_of_reference.encode()).hexdigest()
    rest = {
        "series": "003",
        "modality": "CT",
        "body_part": "HEAD",
        "series_description": "T1 mprage",
        "slice_thickness_mm": 1.5,
        "slices": 9,
        "contrast_agent": True,
        "image_type": ("ORIGINAL", "PRIMARY", "AXIAL"),
        "own_result": False,
    }
    assert {name: facts[name] for name in rest} == rest


def test_what_is_not_there_is_not_told(stack, written):
    for dataset in stack.datasets:
        for name in ("ImageType", "PatientID", "FrameOfReferenceUID", "SliceThickness", "SeriesDescription"):
            dataset.pop(name, None)
    facts = facts_of(written(stack.datasets))
    silent = {name for name, value in facts.items() if value is None}
    assert silent == {
        *(
            "patient",
            "frame_of_reference",
            "body_part",
            "series_description",
            "slice_thickness_mm",
            "image_type",
        )
    }


@pytest.mark.parametrize(
    ("name", "values", "fact"),
    [
        ("SeriesDescription", ("t1", "t2"), "series_description"),
        ("SliceThickness", ("1", "1.1"), "slice_thickness_mm"),
        ("BodyPartExamined", ("HEAD", "NECK"), "body_part"),
        ("SliceThickness", ("1", None), "slice_thickness_mm"),
    ],
)
def test_what_slices_do_not_agree_on_is_not_told(name, values, fact, told):
    assert told(lambda number: {name: values[number == 4]})[fact] is None


def test_slice_thickness_is_the_element_not_the_distance(told):
    assert told(SliceThickness="5", SpacingBetweenSlices="3")["slice_thickness_mm"] == 5


def test_thickness_that_rounding_alone_changes_is_one(told):
    assert told(lambda number: {"SliceThickness": ["2.999", "3"][number % 2]})["slice_thickness_mm"] == 2.999


@pytest.mark.parametrize(
    ("values", "given"),
    [
        ({}, False),
        ({"ContrastBolusAgent": ""}, None),
        ({"ContrastBolusAgent": "unknown"}, None),
        ({"ContrastBolusAgent": "None"}, False),
        ({"ContrastBolusAgent": "without  contrast"}, False),
        ({"ContrastBolusAgent": "Non-ionic, 80 ml"}, True),
        ({"ContrastBolusAgent": "ULTRAVIST 370"}, True),
        ({"ContrastBolusAgent": "", "ContrastBolusVolume": "80"}, True),
        ({"ContrastBolusVolume": "0"}, False),
        ({"ContrastBolusAgentSequence": [item(CodeMeaning="Iodine contrast agent")]}, True),
        ({"ContrastBolusAgentSequence": [Dataset()]}, None),
        ({"Modality": "PT"}, None),
        ({"Modality": "PT", "ContrastBolusAgent": "Omnipaque"}, True),
    ],
)
def test_contrast(values, given, told):
    assert told(**values)["contrast_agent"] is given


@pytest.mark.parametrize(
    "agent",
    [
        *(
            "NON-CONTRAST",
            "NO IV CONTRAST",
            "Without IV contrast",
            "NONE GIVEN",
            "W/O",
            "sin contraste",
            "0 ml",
        ),
        *(
            "No contrast given",
            "NATIVE PHASE",
            "no contrast agent",
            "CT nativ",
            "Nonenhanced scan",
            "pre contrast",
        ),
    ],
)
def test_words_that_may_deny_an_agent_tell_nothing(agent, told):
    assert told(ContrastBolusAgent=agent)["contrast_agent"] is None


@pytest.mark.parametrize("agent", ["NONE", "NO IV CONTRAST"])
def test_an_amount_does_not_outweigh_words(agent, told):
    assert told(ContrastBolusAgent=agent, ContrastBolusVolume="100")["contrast_agent"] is None


@pytest.mark.parametrize(
    "agent", ["Non-ionic 350", "NONIONIC CONTRAST", "Gadovist", "IV CONTRAST", "Sinografin"]
)
def test_words_for_agents_that_look_like_denials(agent, told):
    assert told(ContrastBolusAgent=agent)["contrast_agent"] is True


def test_an_amount_that_is_no_number_is_no_reason_to_refuse(stack, written):
    for dataset in stack.datasets:
        dataset[0x00181041] = RawDataElement(Tag(0x00181041), "DS", 6, b"eighty", 0, False, True)
    facts = facts_of(written(stack.datasets))
    assert facts["contrast_agent"] is None
    assert facts["slices"] == 9


def test_words_of_any_character_set(told):
    facts = told(SpecificCharacterSet="ISO_IR 192", SeriesDescription="頭部 T1")
    assert facts["series_description"] == "頭部 T1"


@pytest.mark.parametrize(
    ("name", "value", "same"),
    [
        ("PatientName", "Another^Spelling", True),
        ("PatientID", "P0", False),
        ("PatientBirthDate", "19700101", False),
        ("PatientSex", "F", False),
        ("IssuerOfPatientID", "Elsewhere", False),
    ],
)
def test_who_is_one_patient(name, value, same, stack, written):
    before = facts_of(written(stack.datasets, "before"))["patient"]
    for dataset in stack.datasets:
        setattr(dataset, name, value)
    assert (facts_of(written(stack.datasets, "after"))["patient"] == before) is same


def test_a_patients_number_cannot_be_found_by_trying(stack, written):
    facts = facts_of(written(stack.datasets))
    assert facts["patient"] != hashlib.sha256(stack.identity.patient.encode()).hexdigest()
    for dataset in stack.datasets:
        dataset.StudyInstanceUID += ".1"
    assert facts_of(written(stack.datasets, "other"))["patient"] != facts["patient"]


def test_facts_stay_out_of_verdicts_and_names(stack, written):
    for dataset in stack.datasets:
        dataset.SeriesDescription = "Mrs Doe"
    folder = written(stack.datasets)
    assert facts_of(folder)["series_description"] == "Mrs Doe"
    assert "Doe" not in json.dumps(inspect(folder))


def test_a_repaired_volume_tells_as_much(stack, written):
    folder = written(stack.datasets[:4] + stack.datasets[5:])
    facts = facts_of(folder, repairs=["resample"])
    assert (facts["slices"], facts["body_part"], facts["modality"]) == (9, None, "CT")
    assert facts["study"] == hash_uid(stack.identity.study)


# Enhanced multi-frame objects


def write_frames(folder, modality="MR", **groups):
    rng = np.random.default_rng(5)
    stack = Stack(rng, modality=modality, coding=coding_of(modality))
    frames = [grouped(frame, **groups) for frame in frames_of(stack)]
    dataset = write_enhanced(folder, rng, stack.identity, frames, modality)
    return stack, dataset


def test_an_enhanced_object(tmp_path):
    stack, _ = write_frames(
        tmp_path,
        FrameAnatomySequence={"AnatomicRegionSequence": [item(CodeValue="12738006", CodeMeaning="Brain")]},
    )
    facts = facts_of(tmp_path)
    assert facts["body_part"] == "BRAIN"
    assert facts["slice_thickness_mm"] == pytest.approx(stack.grid.thickness)
    assert facts["image_type"] == ("ORIGINAL", "PRIMARY", "VOLUME", "NONE")
    assert facts["contrast_agent"] is False
    assert facts["slices"] == len(stack.positions)


@pytest.mark.parametrize(
    ("said", "given"), [(["YES"], True), (["NO"], False), (["NO", "YES"], True), (["MAYBE"], None)]
)
def test_an_enhanced_object_says_of_each_frame_whether_an_agent_was_given(said, given, tmp_path):
    usage = [
        item(ContrastBolusAgentNumber=n, ContrastBolusAgentAdministered=word)
        for n, word in enumerate(said, 1)
    ]
    rng = np.random.default_rng(5)
    stack = Stack(rng, modality="MR", coding=coding_of("MR"))
    dataset = enhanced(rng, stack.identity, frames_of(stack))
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        groups.ContrastBolusUsageSequence = usage
    dataset.ContrastBolusAgentSequence = [item(CodeMeaning="Gadolinium")]
    save_file(tmp_path / "a.dcm", dataset)
    assert facts_of(tmp_path)["contrast_agent"] is given
    del dataset.PerFrameFunctionalGroupsSequence[3].ContrastBolusUsageSequence
    save_file(tmp_path / "a.dcm", dataset)
    assert facts_of(tmp_path)["contrast_agent"] is (True if given else None)  # the object has an agent


# What medkit made


def test_images_that_medkit_made_are_known(tmp_path):
    array, affine = geometry()
    source = open_source(write_series(tmp_path / "source", array, affine))
    assert not facts_of(tmp_path / "source")["own_result"]
    images = make_derived_images(
        source,
        np.zeros((256, 128, 3), np.int16),
        affine,
        MAKER,
        modality=DerivedModality.MR,
        what="synthesis",
    )
    for number, image in enumerate(images):
        save(image, tmp_path / "made" / f"{number}.dcm")
    facts = facts_of(tmp_path / "made")
    assert facts["own_result"] is True
    assert facts["image_type"][:2] == ("DERIVED", "SECONDARY")
    assert is_own_result(tmp_path / "made" / "0.dcm")


def test_objects_that_are_no_volumes_are_known_too(tmp_path):
    array, affine = geometry()
    source = open_source(write_series(tmp_path / "source", array, affine))
    save(make_segmentation(source, some_labels(), affine, MAKER), tmp_path / "seg.dcm")
    assert is_own_result(tmp_path / "seg.dcm")
    assert not any(is_own_result(path) for path in (tmp_path / "source").iterdir())


def test_what_is_no_dicom_is_nobodys_result(tmp_path):
    (tmp_path / "a.txt").write_text("Manufacturer medkit")
    with pytest.raises(Refused, match="another kind"):
        is_own_result(tmp_path / "a.txt")


# Real series


def test_a_real_study(real_data):
    facts = [rule_facts(volume) for volume in read(real_data / "dicom" / "prostatex_0000").volumes]
    assert len(facts) == 9
    for shared in ("patient", "study", "frame_of_reference"):
        (value,) = {one[shared] for one in facts}
        assert re.fullmatch("[0-9a-f]{64}", value)
    assert {one["body_part"] for one in facts} == {"PROSTATE"}
    assert {one["slice_thickness_mm"] for one in facts} == {3.0}
    assert [one["series_description"] for one in facts][:3] == ["t2_tse_sag", "t2_tse_tra", "t2_tse_cor"]
    assert sum(one["image_type"][0] == "DERIVED" for one in facts) == 5


def test_real_series_with_and_without_an_agent(real_data):
    (volume,) = read(real_data / "dicom" / "totalseg_ct_j2k").volumes
    assert rule_facts(volume)["contrast_agent"] is True
    (volume,) = read(real_data / "dicom" / "hippocrop_study1").volumes
    assert rule_facts(volume)["contrast_agent"] is False


def test_real_enhanced_series(real_data):
    volumes = read(real_data / "dicom" / "dicom2nifti_odd" / "philips_enhanced").volumes
    facts = [rule_facts(volume) for volume in volumes]
    assert {one["body_part"] for one in facts} == {"BRAIN"}
    assert {one["slice_thickness_mm"] for one in facts} == {2.7, 3.313}


def test_of_a_series_that_cannot_be_read_its_files_tell(stack, written):
    for dataset in stack.datasets:
        dataset.update(
            {"SeriesDescription": "T1", "ImageType": ["ORIGINAL", "PRIMARY"], "BodyPartExamined": "HEAD"}
        )
    stack.datasets[2].PixelData = stack.datasets[2].PixelData[:-10]
    stack.datasets[3].SliceThickness = "9"
    (series,) = read(written(stack.datasets)).series
    assert (series.volumes, [one.code for one in series.refusals]) == ((), ["truncated"])
    facts = series_facts(series)
    assert tuple(facts) == FACTS
    known = {name: value for name, value in facts.items() if value is not None}
    assert known == {
        "series": series.series_instance_uid,
        "modality": "CT",
        "body_part": "HEAD",
        "series_description": "T1",
        "image_type": ("ORIGINAL", "PRIMARY"),
        "own_result": False,
    }
