"""The folder of results: it is no input, and takes no case that would replace another's or lead out."""

from __future__ import annotations

import csv
import os
import shutil
import time

import pytest

import medkit
from medkit.data import Case, find_cases
from medkit.errors import UsageError
from medkit.inference.records import OUTPUT_FOLDERS
from medkit.inference.run import RunOptions, leave_out_results, predict_cases
from tests.inference.run.reports import report
from tests.phantoms import write_hippocampus
from tests.tiny_bundle import edit_json


def test_two_calls_with_different_images_keep_both(segment, images, tmp_path):
    segment(images / "a.nii.gz")
    segment(images / "b.nii.gz")
    assert [record["case"] for record in report(tmp_path / "out")["cases"]] == ["a", "b"]
    assert len(list((tmp_path / "out" / "labels").iterdir())) == 2
    rows = list(csv.reader((tmp_path / "out" / "volumes.csv").open()))
    assert [row[0] for row in rows] == ["case", "a", "b"]


def test_results_are_left_out_and_nothing_else(tmp_path):
    names = [f"{folder}/deep/a.nii" for folder in OUTPUT_FOLDERS]
    names += ["images/b.nii", "c.nii", "old/labels/d.nii", "labels2/e.nii"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    cases = find_cases([tmp_path])
    assert [case.name for case in leave_out_results(cases, tmp_path)] == [
        *("c", "images/b", "labels2/e", "old/labels/d")
    ]
    assert leave_out_results(cases, tmp_path / "results") == cases
    with pytest.raises(UsageError, match="expected images elsewhere"):
        leave_out_results(find_cases([tmp_path / "labels"]), tmp_path)


def test_results_behind_a_link_are_left_out(tmp_path):
    for name in ("store/a.nii", "images/b.nii"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "labels").symlink_to(tmp_path / "store")
    left = leave_out_results(find_cases([tmp_path]), tmp_path / "out")
    assert [case.name for case in left] == ["images/b"]


@pytest.mark.parametrize("force", [False, True])
def test_a_case_whose_name_leads_out_is_refused_before_anything_runs(tiny, images, tmp_path, force):
    case = Case("../../escaped", (images / "a.nii.gz",))
    with pytest.raises(UsageError, match="leads into the results folder"):
        predict_cases(tiny, [case], tmp_path / "out", RunOptions(force=force))
    assert not list(tmp_path.rglob("*escaped*"))


def test_another_image_of_the_same_name_is_refused_before_anything_runs(segment, images, tmp_path):
    segment(images / "a.nii.gz")
    (tmp_path / "other").mkdir()
    write_hippocampus(tmp_path / "other" / "a.nii.gz", seed=5)
    before = (tmp_path / "out" / "cases" / "a.json").read_text()
    with pytest.raises(UsageError, match="would replace those of"):
        segment(tmp_path / "other" / "a.nii.gz")
    assert (tmp_path / "out" / "cases" / "a.json").read_text() == before
    assert segment(tmp_path / "other" / "a.nii.gz", force=True) == {"a": "done"}


@pytest.fixture
def other(tmp_path, tiny_root):
    """A bundle of another name that fails on images of one channel."""
    root = shutil.copytree(tiny_root, tmp_path / "other_segmentation")
    image = {"network_data_format": {"inputs": {"image": {"num_channels": 2}}}}
    edit_json(root / "configs" / "metadata.json", lambda metadata: metadata.update(image))
    return medkit.load(root)


@pytest.mark.parametrize("force", [False, True])
def test_results_of_another_bundle_are_not_touched(segment, other, images, tmp_path, force):
    segment(images / "b.nii.gz", images / "c.nii.gz", pictures=True)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    assert len(before) == 8
    with pytest.raises(UsageError, match="got those of tiny_segmentation for 'b'; choose another") as raised:
        segment(bundle=other, force=force)
    assert str(tmp_path / "out") in str(raised.value)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")} == before
    assert segment(images / "a.nii.gz", bundle=other) == {"a": "failed"}, "nobody has results of this name"


def test_bundles_of_two_trainings_are_two_bundles(segment, tiny_root, tmp_path):
    """Their folders have one name."""
    bundles = []
    for run in ("first", "second"):
        folder = tmp_path / "runs" / "tiny_segmentation" / run
        root = shutil.copytree(tiny_root, folder / "all" / "bundle")
        (folder / "run.json").write_text("{}")
        edit_json(root / "configs" / "inference.json", lambda config: config["inferer"].update(overlap=0.25))
        bundles.append(medkit.load(root))
    assert set(segment(bundle=bundles[0]).values()) == {"done"}
    assert report(tmp_path / "out")["cases"][0]["bundle"] == "tiny_segmentation/first/all"
    for force in (False, True):
        with pytest.raises(UsageError, match="got those of tiny_segmentation/first/all for 'a'"):
            segment(bundle=bundles[1], force=force)
    assert set(segment(bundle=bundles[0]).values()) == {"skipped"}


def test_a_failure_of_another_bundle_is_replaced(segment, other):
    assert set(segment(bundle=other).values()) == {"failed"}
    assert set(segment().values()) == {"done"}


def test_results_behind_a_failure_belong_to_its_bundle(segment, tiny, other, images, tmp_path):
    """They stayed, because the image could not be read."""
    segment(images / "a.nii.gz")
    hidden = (images / "a.nii.gz").rename(tmp_path / "hidden")
    case = Case("a", (images / "a.nii.gz",))
    options = RunOptions(pictures=False)
    assert predict_cases(tiny, [case], tmp_path / "out", options)[0].status == "failed"
    hidden.rename(images / "a.nii.gz")
    with pytest.raises(UsageError, match="got those of tiny_segmentation for 'a'"):
        segment(images / "a.nii.gz", bundle=other)
    assert (tmp_path / "out" / "labels" / "a.nii.gz").is_file()


def test_label_map_of_another_format_is_replaced(segment, tmp_path):
    import SimpleITK as sitk

    write_hippocampus(tmp_path / "x.nii.gz")
    segment(tmp_path / "x.nii.gz")
    sitk.WriteImage(sitk.ReadImage(tmp_path / "x.nii.gz"), tmp_path / "x.nrrd")
    segment(tmp_path / "x.nrrd", force=True)
    assert [path.name for path in (tmp_path / "out" / "labels").iterdir()] == ["x.nrrd"]


def test_folder_that_cannot_be_written_to_is_refused(tiny, images, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="expected a folder to write results to"):
        predict_cases(tiny, find_cases([images]), tmp_path / "file")


def test_leftovers_of_a_killed_run_are_removed(segment, tmp_path):
    labels = tmp_path / "out" / "labels"
    labels.mkdir(parents=True)
    finished = 4_000_000  # above any process id
    kept = [
        labels / f".part-{os.getpid()}-mine.nii.gz",
        labels / f".part-{finished}-fresh.nii.gz",
        labels / ".part-x",
    ]
    gone = labels / f".part-{finished}-old.nii.gz"
    for path in (*kept, gone):
        path.write_bytes(b"half")
    for path in (kept[0], kept[2], gone):
        os.utime(path, (0, time.time() - 3600))
    segment()
    assert not gone.exists()
    assert all(path.exists() for path in kept)
