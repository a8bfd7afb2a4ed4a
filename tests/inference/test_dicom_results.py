"""From a label map, a series and a bundle to DICOM objects."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from medkit.bundle.store import find_bundle
from medkit.data.grid import Grid
from medkit.data.writing import write_labels
from medkit.dicom.writing.results import ResultKind
from medkit.dicom.writing.segmentation import SegmentationType
from medkit.errors import CaseError, UsageError
from medkit.inference.dicom_results import DicomOptions, write_dicom
from medkit.inference.result import NOTHING_LABELLED
from tests.dicom.writing.sources import geometry, write_series

BUNDLE = "hippocampus_segmentation_unet"
NAMES = {1: "anterior hippocampus", 2: "posterior hippocampus"}
SEG = DicomOptions(kinds=(ResultKind.SEGMENTATION,))
RECORD = {
    "case": "a", "status": "done", "input": [{"path": "a.nii", "sha256": None}], "volumes_ml": {},
    "outputs": {"labels": "labels/a.nii.gz"}, "bundle": BUNDLE, "bundle_version": "0.0.9", "bundle_digest": "d" * 64,
    "overrides": {"inferer::overlap": 0.25}, "notes": ["the field is large"],
    "flips": {"axes": ["LR"], "swapped": []}, "weights": [{"path": "/somewhere/else.pt", "sha256": "e" * 64}],
}  # fmt: skip


@pytest.fixture
def given(tmp_path):
    """A series in a folder, and labels on its grid in the results folder of a prediction, without its record."""
    array, affine = geometry("LPS", oblique=True)
    write_series(tmp_path / "series", array, affine, order=False)
    labels = np.random.default_rng(0).integers(0, 3, array.shape).astype(np.uint8)
    path = tmp_path / "results" / "labels" / "visit" / "a.nii.gz"
    write_labels(path, labels, Grid(array.shape, affine), NAMES)
    return path, tmp_path / "series", tmp_path / "out"


def record(labels: Path, **changes) -> None:
    place = labels.parents[2] / "cases" / "visit" / "a.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({**RECORD, **changes}))


def test_objects_and_their_record(given):
    labels, source, out = given
    written = write_dicom(labels, source, BUNDLE, out)
    assert sorted(path.name for path in out.iterdir()) == [
        "003.json",
        "003.sc.dcm",
        "003.seg.dcm",
        "003.sr.dcm",
    ]
    told = json.loads((out / "003.json").read_text())
    assert told["made_by"]["digest"] == find_bundle(BUNDLE).digest()
    assert told["labels"]["sha256"] == hashlib.sha256(labels.read_bytes()).hexdigest()
    for kind, path in written.items():
        assert told["files"][kind.value] == {
            "path": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
    dataset = dcmread(written[ResultKind.SEGMENTATION])
    assert [segment.SegmentLabel for segment in dataset.SegmentSequence] == list(NAMES.values())
    expected = np.asarray(nib.load(labels).dataobj)
    assert dataset.pixel_array.sum() == (expected > 0).sum()


def test_a_second_call_writes_the_same_bytes(given, tmp_path):
    labels, source, out = given
    first = {path.name: path.read_bytes() for path in write_dicom(labels, source, BUNDLE, out).values()}
    again = write_dicom(labels, source, BUNDLE, tmp_path / "again")
    assert {path.name: path.read_bytes() for path in again.values()} == first


def test_the_record_of_a_prediction_tells_what_made_it(given):
    labels, source, out = given
    plain = dcmread(write_dicom(labels, source, BUNDLE, out.with_name("plain"), SEG)[ResultKind.SEGMENTATION])
    record(labels)
    written = write_dicom(labels, source, BUNDLE, out)
    dataset = dcmread(written[ResultKind.SEGMENTATION])
    assert dataset.DeviceSerialNumber == "d" * 64
    assert dataset.SoftwareVersions[1] == "bundle 0.0.9"
    assert dataset.SOPInstanceUID != plain.SOPInstanceUID
    settings = json.loads((out / "003.json").read_text())["made_by"]["settings"]
    assert settings == {"overrides": RECORD["overrides"], "flips": RECORD["flips"], "weights": ["e" * 64]}
    assert b"the field is large" in written[ResultKind.REPORT].read_bytes()


def test_the_record_of_another_bundle_is_refused(given):
    labels, source, out = given
    record(labels, bundle="hippocampus_segmentation_mamba")
    with pytest.raises(UsageError, match="a record that says hippocampus_segmentation_mamba; name that one"):
        write_dicom(labels, source, BUNDLE, out)
    assert not out.exists()


def two_volumes(source):
    """The series once more, with other voxels at the same places."""
    array, affine = geometry("LPS", oblique=True)
    uids = {"SeriesInstanceUID": "1.2.3", "SeriesNumber": 4}
    write_series(source / "more", array[::-1], affine, **uids)
    for number, path in enumerate(sorted((source / "more").iterdir())):
        image = dcmread(path)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
        image.save_as(path)


def test_of_several_volumes_one_is_picked(given):
    labels, source, out = given
    two_volumes(source)
    with pytest.raises(UsageError, match="got 2; pick one by volume=NAME: 003, 004"):
        write_dicom(labels, source, BUNDLE, out)
    options = DicomOptions(kinds=SEG.kinds, picks={"volume": "004"})
    written = write_dicom(labels, source, BUNDLE, out, options)
    reference = dcmread(written[ResultKind.SEGMENTATION]).ReferencedSeriesSequence[0]
    assert reference.SeriesInstanceUID == "1.2.3"


def test_beside_a_series_that_cannot_be_read_one_has_to_be_picked(given):
    # The labels may be of what is refused, and its sibling has the same grid.
    labels, source, out = given
    two_volumes(source)
    broken = next(path for path in source.iterdir() if path.is_file())
    broken.write_bytes(broken.read_bytes()[:-40])
    with pytest.raises(
        UsageError, match=rf"since the labels may be of any, got .*{broken.name}.* by volume=NAME: 004$"
    ):
        write_dicom(labels, source, BUNDLE, out, SEG)
    assert not out.exists()
    for picks in ({"volume": "004"}, {"series": "4"}):
        options = DicomOptions(kinds=SEG.kinds, picks=picks)
        written = write_dicom(labels, source, BUNDLE, out, options)
        reference = dcmread(written[ResultKind.SEGMENTATION]).ReferencedSeriesSequence[0]
        assert reference.SeriesInstanceUID == "1.2.3"


def test_the_only_volume_on_the_grid_of_the_labels_is_taken(given):
    labels, source, out = given
    array, affine = geometry("SAL")
    write_series(source / "more", array, affine, SeriesInstanceUID="1.2.3", SeriesNumber=4)
    assert write_dicom(labels, source, BUNDLE, out, SEG)[ResultKind.SEGMENTATION].name == "003.seg.dcm"
    moved = np.asarray(nib.load(labels).dataobj)
    write_labels(labels, moved, Grid(moved.shape, np.diag([1.0, 1, 5, 1])), NAMES)
    with pytest.raises(CaseError, match=r"one of the volumes in .* \(003, 004\)") as error:
        write_dicom(labels, source, BUNDLE, out, SEG)
    assert error.value.code == "grids-differ"


def test_a_series_that_cannot_be_read(given):
    labels, source, out = given
    shutil.rmtree(source)
    source.mkdir()
    (source / "a.txt").write_text("no image")
    with pytest.raises(
        CaseError, match="expected a series that can be read as a volume, got none: "
    ) as error:
        write_dicom(labels, source, BUNDLE, out)
    assert error.value.code == "series-refused"


def test_labels_that_are_not_there(given):
    labels, source, out = given
    with pytest.raises(UsageError, match="got nothing there"):
        write_dicom(labels.with_name("b.nii.gz"), source, BUNDLE, out)
    labels.with_name("b.txt").write_text("1 2 3")
    with pytest.raises(UsageError, match="got another ending"):
        write_dicom(labels.with_name("b.txt"), source, BUNDLE, out)


def test_a_folder_that_cannot_be_written(given):
    labels, source, out = given
    out.write_text("a file")
    with pytest.raises(
        UsageError, match=r"out: expected a folder .*, got none \(File exists\); choose another"
    ):
        write_dicom(labels, source, BUNDLE, out, SEG)
    with pytest.raises(UsageError, match=r"\(Not a directory\); choose another"):
        write_dicom(labels, source, BUNDLE, out / "more", SEG)


def test_results_of_another_study_are_not_replaced(given, tmp_path):
    labels, source, out = given
    before = {path: path.read_bytes() for path in write_dicom(labels, source, BUNDLE, out).values()}
    before[out / "003.json"] = (out / "003.json").read_bytes()
    array, affine = geometry("LPS", oblique=True)
    other = {"StudyInstanceUID": "1.2.9", "SeriesInstanceUID": "1.2.9.1", "PatientID": "other"}
    write_series(tmp_path / "other", array, affine, **other)
    with pytest.raises(UsageError, match=r"003.json: .* choose another folder for each study"):
        write_dicom(labels, tmp_path / "other", BUNDLE, out, SEG)
    (out / "003.json").unlink()  # as after an interruption
    with pytest.raises(UsageError, match=r"003.seg.dcm: .* choose another folder for each study"):
        write_dicom(labels, tmp_path / "other", BUNDLE, out, SEG)
    del before[out / "003.json"]
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    for path in before:
        path.write_text("no object")
    with pytest.raises(UsageError, match="choose another folder"):
        write_dicom(labels, source, BUNDLE, out)


def test_results_of_one_call_join_those_of_another(given):
    labels, source, out = given
    write_dicom(labels, source, BUNDLE, out, DicomOptions(kinds=(ResultKind.PICTURE,)))
    write_dicom(labels, source, BUNDLE, out, SEG)
    write_dicom(labels, source, BUNDLE, out, SEG)
    assert set(json.loads((out / "003.json").read_text())["files"]) == {"seg", "sc"}
    labelmap = DicomOptions(kinds=SEG.kinds, segmentation_type=SegmentationType.LABELMAP)
    with pytest.raises(UsageError, match=r"003.seg.dcm: .* choose another folder"):
        write_dicom(labels, source, BUNDLE, out, labelmap)
    record(labels)
    with pytest.raises(UsageError, match=r"003.json: .* choose another folder"):
        write_dicom(labels, source, BUNDLE, out, SEG)


def test_what_no_record_says_is_not_told_as_fact(given):
    labels, source, out = given
    notes: list[str] = []
    written = write_dicom(labels, source, BUNDLE, out, on_note=notes.append)
    (note,) = notes
    assert note.startswith("no record says how the labels were made")
    assert b"no record says how the labels were made" in written[ResultKind.REPORT].read_bytes()
    told = json.loads((out / "003.json").read_text())
    assert told["notes"] == notes
    assert told["made_by"]["settings"] == {"known": False}
    assert b'settings {"known": false}' in written[ResultKind.REPORT].read_bytes()
    notes.clear()
    record(labels)
    write_dicom(labels, source, BUNDLE, out.with_name("known"), on_note=notes.append)
    assert notes == RECORD["notes"]


def test_labels_without_a_voxel_are_noted(given):
    labels, source, out = given
    empty = np.zeros_like(np.asarray(nib.load(labels).dataobj))
    write_labels(labels, empty, Grid(empty.shape, geometry("LPS", oblique=True)[1]), NAMES)
    record(labels, notes=[])
    notes: list[str] = []
    written = write_dicom(labels, source, BUNDLE, out, on_note=notes.append)
    assert notes == [NOTHING_LABELLED]
    assert NOTHING_LABELLED.encode() in written[ResultKind.REPORT].read_bytes()
    notes.clear()
    record(labels, notes=[NOTHING_LABELLED])
    write_dicom(labels, source, BUNDLE, out, on_note=notes.append)
    assert notes == [NOTHING_LABELLED]


def test_no_picture_of_probabilities(given):
    labels, source, out = given
    options = DicomOptions(segmentation_type=SegmentationType.FRACTIONAL)
    with pytest.raises(UsageError, match="ask for --kind seg --kind sr"):
        write_dicom(labels, source, BUNDLE, out, options)
    assert not out.exists()


def test_no_such_bundle(given):
    labels, source, out = given
    with pytest.raises(UsageError, match="no bundle 'hippo'"):
        write_dicom(labels, source, "hippo", out)
