"""A case's files: its record vouches for what lies there, and for nothing else."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medkit.data import Case, Grid, Volume
from medkit.data.hashing import hash_files
from medkit.data.label_names import label_table
from medkit.errors import CaseError, UsageError
from medkit.inference import records
from medkit.inference.records import (
    check_name_is_free,
    check_name_leads_inside,
    describe_files,
    finished_record,
    read_record,
    record_path,
    save_failure,
    save_result,
    to_json,
)
from medkit.inference.result import Result
from medkit.inference.volume_intervals import VolumeIntervals
from medkit.metrics.conformal import Bounds
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


def test_the_picture_has_the_remarks_and_the_sums_of_the_result(result, output, monkeypatch):
    drawn = {}
    monkeypatch.setattr("medkit.figures.overlay.draw_overlay", lambda *_, **given: drawn.update(given))
    bounds = {name: Bounds(0.5, 2) for name in (*NAMES.values(), "whole", "rest")}
    sums = {"whole": ["Anterior", "Posterior"], "rest": ["Posterior"]}
    intervals = VolumeIntervals(0.9, bounds | {"rest": None}, sums, dict.fromkeys(bounds, (0, 1000)))
    noted = replace(result, intervals=intervals, notes=("cut by the edge of the image",))
    save_result(noted, output, "case", picture=True)
    assert drawn["notes"] == noted.notes
    volume = sum(noted.volumes_ml.values())
    text = f"90 % interval {0.5 * volume:.2f} to {2 * volume:.2f} ml"
    assert drawn["sums"] == [("whole", volume, text), ("rest", noted.volumes_ml["Posterior"], "")]


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


def test_results_outlive_an_image_that_cannot_be_read_now(result, output):
    record = save_result(result, output, "case", picture=True)
    before = {file: (output / file).read_bytes() for file in record["outputs"].values()}
    content = result.files[0].read_bytes()
    result.files[0].unlink()
    error = CaseError("file-missing", "scan.nii: nothing there")
    case = Case("case", result.files)
    for _ in range(2):
        failed = save_failure(error, case, output, MADE_BY, describe_files(result.files))
        assert failed["input"][0]["sha256"] is None
        assert read_record(record_path(output, "case")) == failed
        assert {file: (output / file).read_bytes() for file in before} == before
    result.files[0].write_bytes(content)
    assert finished(output, result) is None, "a failed case is tried again"
    save_failure(error, case, output, MADE_BY, describe_files(result.files))
    assert not any((output / file).exists() for file in before)


def test_detached_voxels_are_part_of_the_input(tmp_path):
    """Whatever the header is called."""
    (tmp_path / "a.raw").write_bytes(b"abc")
    headers = {
        "a.nrrd": "NRRD0004\ndata file: a.raw\n",
        "a.NHDR": "NRRD0004\nData File: a.raw\n",
        "a.mha": "NDims = 3\nElementDataFile = a.raw\n",
    }
    for name, text in headers.items():
        (tmp_path / name).write_text(text)
        described = describe_files([tmp_path / name])
        assert [file["path"] for file in described] == [str(tmp_path / name), str(tmp_path / "a.raw")]
        assert described[1]["sha256"] == hash_files([tmp_path / "a.raw"])


@pytest.mark.parametrize("name", ["scan", "visit1/scan", ".hidden", "a..b", "...", "a b"])
def test_names_that_lead_inside(name):
    check_name_leads_inside(name)


@pytest.mark.parametrize("name", ["", ".", "..", "../scan", "a/../../scan", "/tmp/scan", "a//b", "a/", "./a"])
def test_names_that_lead_elsewhere(name):
    with pytest.raises(
        UsageError, match=rf"such as 'visit1/scan', got {re.escape(repr(name))}; pass another"
    ):
        check_name_leads_inside(name)


def test_a_name_is_free_for_the_same_image(result, output, tmp_path):
    check_name_is_free(output, "case", result.files, "")
    save_result(result, output, "case", picture=False)
    moved = tmp_path / "moved.nii"
    moved.write_bytes(result.files[0].read_bytes())
    check_name_is_free(output, "case", [moved], "")
    moved.write_bytes(b"other voxels")
    with pytest.raises(
        UsageError, match=f"{moved}: its results would replace those of .*scan.nii in .*; rename"
    ):
        check_name_is_free(output, "case", [moved], "rename it")
    result.files[0].write_bytes(b"the same file, changed")
    check_name_is_free(output, "case", result.files, "")


def test_a_name_is_not_free_for_an_image_with_the_same_header(result, output, tmp_path):
    for folder, voxels in (("one", b"abc"), ("two", b"abd")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "scan.hdr").write_bytes(b"header")
        (tmp_path / folder / "scan.img").write_bytes(voxels)
    save_result(replace(result, files=(tmp_path / "one/scan.hdr",)), output, "case", picture=False)
    with pytest.raises(UsageError, match="would replace those of"):
        check_name_is_free(output, "case", [tmp_path / "two/scan.hdr"], "")


def test_a_name_is_free_where_the_last_run_failed(result, output):
    save_failure(
        CaseError("no-good", "no good"),
        Case("case", result.files),
        output,
        MADE_BY,
        describe_files(result.files),
    )
    check_name_is_free(output, "case", result.volume, "")


def test_json_of_a_name_in_no_encoding():
    name = b"M\xfcller \xc3\xa4".decode(errors="surrogateescape")
    text = to_json({"case": name})
    assert "ä" in text
    assert json.loads(text.encode()) == {"case": name}


def test_record_that_is_missing(tmp_path):
    assert read_record(tmp_path / "none.json") is None
    assert read_record(Path(tmp_path)) is None
