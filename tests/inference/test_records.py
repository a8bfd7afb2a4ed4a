"""A case's files: its record vouches for what lies there, and for nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medkit.data import Case, Grid, Volume
from medkit.data.label_names import label_table
from medkit.errors import CaseError
from medkit.inference import records
from medkit.inference.records import (
    describe_files,
    finished_record,
    hash_files,
    read_record,
    record_path,
    save_failure,
    save_result,
    to_json,
)
from medkit.inference.result import Result
from tests.phantoms import OBLIQUE, SHAPE, hippocampus

IMAGE, LABELS = hippocampus()
NAMES = {1: "Anterior", 2: "Posterior"}
MADE_BY = {
    "bundle": "b",
    "bundle_version": "1",
    "bundle_digest": "d",
    "overrides": {},
    "device": "cpu",
    "versions": {},
}


@pytest.fixture
def result(tmp_path):
    (tmp_path / "scan.nii").write_bytes(b"some voxels")
    return Result(
        volume=Volume(IMAGE, Grid(SHAPE, OBLIQUE), str(tmp_path / "scan.nii")),
        labels=LABELS,
        grid=Grid(SHAPE, OBLIQUE),
        label_names=NAMES,
        provenance=MADE_BY,
        seconds={},
        files=(tmp_path / "scan.nii",),
    )


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out"


def finished(output, result, wanted=("labels",), **other):
    return finished_record(output, "case", describe_files(result.files), {**MADE_BY, **other}, wanted)


def test_record_of_a_finished_case(result, output):
    record = save_result(result, output, "case", picture=True)
    assert read_record(record_path(output, "case")) == record
    assert finished(output, result, ["labels", "picture"]) == record
    assert finished(output, result, ["labels", "probabilities"]) is None
    assert finished(output, result, overrides={"a": 1}) is None
    assert finished(output, result, bundle_digest="other") is None
    assert finished(output, result, device="cuda:0") == record
    result.files[0].write_bytes(b"other voxels")
    assert finished(output, result) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("outputs"),
        lambda record: record.pop("bundle_digest"),
        lambda record: record.update(input=[]),
        lambda record: record.update(input=["scan.nii"]),
        lambda record: record.update(input=[{"path": "scan.nii"}]),
        lambda record: record.update(status="skipped"),
        lambda record: record.update(status="failed"),
    ],
)
def test_record_of_another_form_is_no_record(result, output, change):
    record = save_result(result, output, "case", picture=False)
    change(record)
    record_path(output, "case").write_text(json.dumps(record))
    assert read_record(record_path(output, "case")) is None


def test_unreadable_input_is_never_finished(result, output):
    save_result(result, output, "case", picture=False)
    result.files[0].unlink()
    save_result(result, output, "case", picture=False)
    assert finished(output, result) is None


def test_labels_carry_their_names_and_picture_shows_something(result, output):
    record = save_result(result, output, "deep/case", picture=True)
    path = output / record["outputs"]["labels"]
    assert path == output / "labels" / "deep" / "case.nii.gz"
    assert label_table(path) == NAMES
    np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj), LABELS)
    assert np.asarray(Image.open(output / record["outputs"]["picture"])).std() > 1


def test_overlapping_masks(result, output):
    masks = np.stack([LABELS > 0, LABELS == 2], axis=-1).astype(np.uint8)
    both = replace(result, labels=masks, label_names={0: "whole", 1: "part"})
    record = save_result(both, output, "case", picture=True)
    np.testing.assert_array_equal(np.asarray(nib.load(output / "labels" / "case.nii.gz").dataobj), masks)
    assert record["volumes_ml"]["part"] == pytest.approx(result.volumes_ml["Posterior"])
    assert (output / "pictures" / "case.png").is_file()


def test_smaller_masks_are_drawn_over_larger_ones():
    masks = np.zeros((4, 4, 4, 3), np.uint8)
    masks[:1, ..., 0], masks[:3, ..., 1], masks[3:, ..., 2] = 1, 1, 1
    flat, names = records._flattened(masks, {0: "small", 1: "large", 2: "other"})
    assert names == {1: "small", 2: "large", 3: "other"}
    assert flat[:, 0, 0].tolist() == [1, 2, 2, 3]


def test_image_is_shown_on_the_grid_of_labels_that_lie_on_another(result):
    middle = OBLIQUE @ [6, 5, 4, 1]
    affine = nib.affines.from_matvec(np.eye(3) * 1.5, middle[:3] - 1.5 * np.array([9, 8, 7]))
    there = Grid((20, 18, 16), affine)
    moved = records._on_grid_of(replace(result, labels=np.zeros(there.shape, np.uint8), grid=there))
    assert moved.array.shape == there.shape
    assert moved.array[9, 8, 7] == pytest.approx(IMAGE[6, 5, 4])
    assert moved.array[0, 0, 0] == 0
    assert records._on_grid_of(result) is result.volume


def test_old_record_does_not_vouch_for_new_labels(result, output, monkeypatch):
    save_result(result, output, "case", picture=False)
    assert finished(output, result)
    changed = replace(result, labels=LABELS * 0, provenance={**MADE_BY, "overrides": {"a": 1}})

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(records, "_save_record", killed)
    with pytest.raises(KeyboardInterrupt):
        save_result(changed, output, "case", picture=False)
    assert finished(output, result) is None


def test_failure_takes_away_its_own_outputs_only(result, output):
    for name in ("case", "case.nii", "case[1]", "cas?"):
        save_result(result, output, name, picture=True)
    error = CaseError("no-good", "scan.nii: no good")
    for name in ("case", "case[1]"):
        record = save_failure(error, Case(name, result.files), output, MADE_BY, describe_files(result.files))
        assert (record["status"], record["code"], record["reason"]) == (
            "failed",
            "no-good",
            "scan.nii: no good",
        )
        assert finished(output, result) is None
    assert sorted(path.name for path in (output / "labels").iterdir()) == ["cas?.nii.gz", "case.nii.nii.gz"]
    assert sorted(path.name for path in (output / "pictures").iterdir()) == ["cas?.png", "case.nii.png"]


def test_hash_of_files(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert hash_files([tmp_path / "a"]) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hash_files([tmp_path / "a", tmp_path / "none"]) is None
    assert hash_files([tmp_path]) is None


def test_json_of_a_name_in_no_encoding():
    name = b"M\xfcller \xc3\xa4".decode(errors="surrogateescape")
    text = to_json({"case": name})
    assert "ä" in text
    assert json.loads(text.encode()) == {"case": name}


def test_record_that_is_missing(tmp_path):
    assert read_record(tmp_path / "none.json") is None
    assert read_record(Path(tmp_path)) is None
