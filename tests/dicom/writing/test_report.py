"""Reports: volumes of each segment, what they are about, and remarks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from highdicom import sr
from pydicom import dcmread

from medkit.dicom.writing.report import MACHINE_MADE, segment_volumes_ml, volume_report
from medkit.dicom.writing.saving import save
from medkit.dicom.writing.segmentation import SegmentationType, make_segmentation
from medkit.dicom.writing.source import open_source
from tests.dicom.writing.sources import CODES, MAKER, NAMES, geometry, some_labels, write_series

VOXEL_ML = 0.006  # 1 x 2 x 3 mm


def segments(source, labels, kind=SegmentationType.BINARY, maker=MAKER):
    return make_segmentation(source, labels, source.volume.affine, maker, segmentation_type=kind)


@pytest.fixture
def report(oblique, tmp_path):
    labels = some_labels(oblique.volume.array.shape)
    made = segments(oblique, labels)
    save(volume_report(oblique, made, MAKER, ["a gap", "Rein: α"]), tmp_path / "sr.dcm")
    return made, labels, sr.srread(tmp_path / "sr.dcm")


def test_volumes_are_those_of_the_labels(report):
    made, labels, document = report
    groups = document.content.get_volumetric_roi_measurement_groups()
    assert len(groups) == len(NAMES)
    for number, (group, value) in enumerate(zip(groups, NAMES, strict=True), 1):
        (volume,) = group.get_measurements()
        assert (volume.name.value, volume.unit.value) == ("118565006", "ml")
        assert volume.value == pytest.approx((labels == value).sum() * VOXEL_ML)
        image = next(item for item in group.referenced_segment if item.ValueType == "IMAGE")
        (reference,) = image.ReferencedSOPSequence
        assert int(reference.ReferencedSegmentNumber) == number
        assert reference.ReferencedSOPInstanceUID == made.SOPInstanceUID
        assert group.tracking_uid == made.SegmentSequence[number - 1].TrackingUID
        assert group.finding_type.value == CODES[value].type.value
        (site,) = group.finding_sites
        assert site.value.value == "64033007"
        assert site.laterality.meaning == ("Right" if value == 2 else "Left")


def test_remarks_are_comments_and_the_first_says_what_it_is(report):
    _, _, document = report
    comments = [item.value for item in document.content[0].ContentSequence if item.ValueType == "TEXT"
                and item.name.value == "121106"]  # fmt: skip
    assert comments == [MACHINE_MADE, "a gap", "Rein: α"]
    assert document.SpecificCharacterSet == "ISO_IR 192"
    assert document.VerificationFlag == "UNVERIFIED"


def test_evidence_is_the_segmentation_and_every_image(report, oblique):
    made, _, document = report
    told = {(str(instance), str(kind)) for _, _, instance, kind in document.get_evidence()}
    assert told == {(made.SOPInstanceUID, made.SOPClassUID), *oblique.instances.items()}


@pytest.mark.parametrize("kind", SegmentationType)
def test_each_type_of_segmentation_has_its_volumes(oblique, kind):
    labels = some_labels(oblique.volume.array.shape)
    labels[labels == 2] = 0
    given = labels
    if kind is SegmentationType.FRACTIONAL:
        given = np.stack([(labels == value) * 0.6 for value in range(6)], axis=-1)
    share = 0.6 if kind is SegmentationType.FRACTIONAL else 1.0
    volumes = segment_volumes_ml(oblique, segments(oblique, given, kind))
    for number, value in enumerate(NAMES, 1):
        assert volumes[number] == pytest.approx((labels == value).sum() * VOXEL_ML * share, rel=1e-3)


def test_a_single_structure(oblique):
    maker = replace(MAKER, label_names={1: "left kidney"})
    labels = np.ones(oblique.volume.array.shape, np.uint8)
    assert segment_volumes_ml(oblique, segments(oblique, labels, maker=maker)) == {
        1: pytest.approx(labels.size * VOXEL_ML)
    }


def test_tilt_does_not_change_a_volume(tmp_path):
    array, affine = geometry("LPS")
    shear = np.eye(4)
    shear[1, 2] = 0.3
    source = open_source(write_series(tmp_path, array, affine @ shear))
    labels = np.ones(array.shape, np.uint8)
    made = make_segmentation(source, labels, source.volume.affine, MAKER, allow_sheared=True)
    assert segment_volumes_ml(source, made)[1] == pytest.approx(labels.size * VOXEL_ML)


def test_another_remark_is_another_object(oblique):
    made = segments(oblique, some_labels(oblique.volume.array.shape))
    uids = {volume_report(oblique, made, MAKER, notes).SOPInstanceUID for notes in ([], ["a"], ["b"])}
    assert len(uids) == 3


def test_another_program_reads_it(report, tmp_path):
    import json
    import subprocess
    from pathlib import Path

    import dcmqi

    made, labels, _ = report
    program = Path(dcmqi.__file__).parent / "bin" / "tid1500reader"
    call = [program, "--inputDICOM", tmp_path / "sr.dcm", "--outputMetadata", tmp_path / "sr.json"]
    subprocess.run(list(map(str, call)), check=True, capture_output=True)
    told = json.loads((tmp_path / "sr.json").read_text())["Measurements"]
    for number, (group, value) in enumerate(zip(told, NAMES, strict=True), 1):
        assert group["segmentationSOPInstanceUID"] == made.SOPInstanceUID
        assert group["ReferencedSegment"] == number
        (item,) = group["measurementItems"]
        assert float(item["value"]) == pytest.approx((labels == value).sum() * VOXEL_ML)


def test_files_are_valid(report, tmp_path, errors):
    assert errors(tmp_path / "sr.dcm") == []
    assert dcmread(tmp_path / "sr.dcm").Modality == "SR"
