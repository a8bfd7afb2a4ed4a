"""A run over cases: what is finished is skipped, what changed is run again, what fails stays alone."""

from __future__ import annotations

import csv
import json
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import medkit
from medkit.data import Case, find_cases
from medkit.errors import UsageError
from medkit.inference import run as run_module
from medkit.inference.records import OUTPUT_FOLDERS
from medkit.inference.run import RunOptions, _overlapped, leave_out_results, predict_cases
from tests.phantoms import hippocampus, nifti, write_hippocampus
from tests.tiny_bundle import edit_json


@pytest.fixture
def images(tmp_path):
    (tmp_path / "images").mkdir()
    for number, name in enumerate("abc"):
        write_hippocampus(tmp_path / "images" / f"{name}.nii.gz", seed=number)
    return tmp_path / "images"


@pytest.fixture
def segment(tiny, images, tmp_path):
    """Run the images, or others, into one folder, without pictures; return case to status."""

    def run(*inputs, bundle=tiny, pictures=False, **options):
        cases = find_cases(inputs or [images])
        outcomes = predict_cases(bundle, cases, tmp_path / "out", RunOptions(pictures=pictures, **options))
        assert [outcome.case for outcome in outcomes] == cases
        return {outcome.case.name: outcome.status for outcome in outcomes}

    return run


def report(output):
    return json.loads((output / "report.json").read_text())


# --- what is finished ---------------------------------------------------------------------------------------


def test_finished_cases_are_left_untouched(segment, tmp_path):
    assert set(segment(pictures=True).values()) == {"done"}
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.*") if p.parent.name != "out"}
    assert len(before) == 9
    assert set(segment(pictures=True).values()) == {"skipped"}
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert set(segment(force=True).values()) == {"done"}


def test_skipped_cases_are_not_read(segment, images, monkeypatch):
    segment()
    monkeypatch.setattr(run_module, "read_channels", lambda paths: pytest.fail("read a finished case"))
    assert set(segment().values()) == {"skipped"}


def test_changed_image_is_run_again(segment, images):
    segment()
    write_hippocampus(images / "b.nii.gz", seed=77)
    assert segment() == {"a": "skipped", "b": "done", "c": "skipped"}


@pytest.mark.parametrize("kind", ["labels/b.nii.gz", "pictures/b.png", "cases/b.json"])
def test_missing_output_is_made_again(segment, tmp_path, kind):
    segment(pictures=True)
    (tmp_path / "out" / kind).unlink()
    assert segment(pictures=True) == {"a": "skipped", "b": "done", "c": "skipped"}
    assert (tmp_path / "out" / kind).is_file()


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"status": ["done"]}', '{"status": "done", "case": "b"}', "\xff"]
)
def test_damaged_record_is_no_record(segment, tmp_path, damage):
    segment()
    (tmp_path / "out" / "cases" / "b.json").write_text(damage, encoding="latin-1")
    assert segment() == {"a": "skipped", "b": "done", "c": "skipped"}


def test_other_overrides_run_again(segment, tiny_root):
    segment()
    other = medkit.load(tiny_root, overrides={"inferer::overlap": 0.25})
    assert set(segment(bundle=other).values()) == {"done"}
    assert set(segment(bundle=other).values()) == {"skipped"}
    assert set(segment().values()) == {"done"}


def test_flips_run_again(segment, tiny_root, tmp_path):
    segment()
    mirrored = medkit.load(tiny_root, flips="LR")
    assert set(segment(bundle=mirrored).values()) == {"done"}
    assert report(tmp_path / "out")["cases"][0]["flips"] == {"axes": ["LR"], "swapped": []}
    assert set(segment(bundle=mirrored).values()) == {"skipped"}
    assert set(segment(bundle=medkit.load(tiny_root, flips="LR,AP")).values()) == {"done"}
    assert set(segment().values()) == {"done"}
    assert "flips" not in report(tmp_path / "out")["cases"][0]


def test_overrides_from_python_compare_equal_to_their_record(segment, tiny_root):
    changed = medkit.load(tiny_root, overrides={"patch_size": (16, 24, 16)})
    assert set(segment(bundle=changed).values()) == {"done"}
    assert set(segment(bundle=changed).values()) == {"skipped"}


@pytest.mark.parametrize("file", ["configs/inference.json", "models/model.pt"])
def test_other_bundle_content_runs_again(segment, tiny_root, tmp_path, file):
    root = shutil.copytree(tiny_root, tmp_path / "mine")
    segment(bundle=medkit.load(root))
    if file.endswith(".json"):
        edit_json(root / file, lambda config: config["inferer"].update(overlap=0.25))
    else:
        with (root / file).open("ab") as weights:
            weights.write(b"\0")
    assert set(segment(bundle=medkit.load(root)).values()) == {"done"}


def test_outputs_asked_for_later_are_made(segment, tmp_path):
    segment()
    assert not (tmp_path / "out" / "pictures").exists()
    assert set(segment(pictures=True).values()) == {"done"}
    assert set(segment().values()) == {"skipped"}
    assert set(segment(probabilities=True).values()) == {"done"}
    assert not list((tmp_path / "out" / "pictures").iterdir()), (
        "a picture that no record lists is of old labels"
    )


def test_moved_images_are_known_by_their_content(segment, images, tmp_path):
    segment()
    images.rename(tmp_path / "elsewhere")
    assert set(segment(tmp_path / "elsewhere").values()) == {"skipped"}


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


def test_changed_voxels_beside_an_unchanged_header_are_noticed(segment, tmp_path):
    for seed in (0, 1):
        image = nifti(hippocampus(seed=seed)[0], kind=nib.Nifti1Pair)
        nib.save(image, tmp_path / "pair.img")
        assert segment(tmp_path / "pair.hdr") == {"pair": "done"}
        assert segment(tmp_path / "pair.hdr") == {"pair": "skipped"}
    record = report(tmp_path / "out")["cases"][0]
    assert [Path(file["path"]).name for file in record["input"]] == ["pair.hdr", "pair.img"]


# --- what fails ---------------------------------------------------------------------------------------------


def test_failed_case_leaves_nothing_of_an_earlier_run_and_is_tried_again(segment, images, tmp_path):
    write_hippocampus(images / "b.b.nii.gz", seed=9)
    segment(probabilities=True, pictures=True)
    good = (images / "b.nii.gz").read_bytes()
    (images / "b.nii.gz").write_bytes(good[:-40])
    assert segment() == {"a": "skipped", "b": "failed", "b.b": "skipped", "c": "skipped"}
    assert not list((tmp_path / "out").glob("[lp]*/b.[np]*"))
    assert (tmp_path / "out" / "labels" / "b.b.nii.gz").is_file(), "b's failure is not b.b's"
    assert report(tmp_path / "out")["cases_failed"] == 1
    assert segment()["b"] == "failed"
    (images / "b.nii.gz").write_bytes(good)
    assert segment() == {"a": "skipped", "b": "done", "b.b": "skipped", "c": "skipped"}
    assert report(tmp_path / "out")["cases_failed"] == 0


def test_results_outlive_a_lost_mount(segment, images, tmp_path):
    segment(pictures=True)
    kept = [tmp_path / "out" / file for file in ("labels/b.nii.gz", "pictures/b.png")]
    before = [path.read_bytes() for path in kept]
    (tmp_path / "list.txt").write_text("".join(f"images/{name}.nii.gz\n" for name in "abc"))
    (images / "b.nii.gz").rename(tmp_path / "away.nii.gz")
    for _ in range(2):
        assert segment(tmp_path / "list.txt") == {"a": "skipped", "b": "failed", "c": "skipped"}
        assert [path.read_bytes() for path in kept] == before
    assert report(tmp_path / "out")["cases"][1]["code"] == "file-missing"
    (tmp_path / "away.nii.gz").rename(images / "b.nii.gz")
    assert segment(tmp_path / "list.txt", pictures=True)["b"] == "done"
    assert kept[0].read_bytes() == before[0]


def test_label_map_of_another_format_is_replaced(segment, tmp_path):
    import SimpleITK as sitk

    write_hippocampus(tmp_path / "x.nii.gz")
    segment(tmp_path / "x.nii.gz")
    sitk.WriteImage(sitk.ReadImage(tmp_path / "x.nii.gz"), tmp_path / "x.nrrd")
    segment(tmp_path / "x.nrrd", force=True)
    assert [path.name for path in (tmp_path / "out" / "labels").iterdir()] == ["x.nrrd"]


@pytest.mark.parametrize(
    "error", [RuntimeError("first\nsecond"), MemoryError(), OSError(28, "No space left")]
)
@pytest.mark.parametrize("station", ["read_channels", "save_result"])
def test_whatever_a_station_raises_is_the_cases_failure(segment, tmp_path, monkeypatch, station, error):
    real = getattr(run_module, station)

    def sometimes(*args, **kwargs):
        if "b" in (getattr(args[0], "name", ""), *(args[2:])) or "b.nii.gz" in str(args[0]):
            raise error
        return real(*args, **kwargs)

    monkeypatch.setattr(run_module, station, sometimes)
    assert segment() == {"a": "done", "b": "failed", "c": "done"}
    record = report(tmp_path / "out")["cases"][1]
    assert record["code"] == ("reading-failed" if station == "read_channels" else "writing-failed")
    assert type(error).__name__ in record["reason"]
    assert "\n" not in record["reason"]


def test_failure_while_segmenting_keeps_no_traceback(tiny_root, segment, monkeypatch):
    bundle = medkit.load(tiny_root)

    def fail(volume, **asked):
        raise ValueError("no idea")

    monkeypatch.setattr(bundle, "predict_volume", fail)
    failures = []
    real = run_module.save_failure
    monkeypatch.setattr(
        run_module, "save_failure", lambda error, *rest: failures.append(error) or real(error, *rest)
    )
    assert set(segment(bundle=bundle).values()) == {"failed"}
    assert all(error.__traceback__ is None and error.__context__ is None for error in failures)


def test_picture_that_cannot_be_drawn_is_a_note(segment, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise ValueError("no\ncanvas")

    monkeypatch.setattr("medkit.figures.overlay.draw_overlay", fail)
    assert set(segment(pictures=True).values()) == {"done"}
    record = report(tmp_path / "out")["cases"][0]
    assert record["notes"] == ["no picture: ValueError: no canvas"]
    assert record["outputs"]["picture"] is None
    assert set(segment(pictures=True).values()) == {"skipped"}


def test_folder_that_cannot_be_written_to_is_refused(tiny, images, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="expected a folder to write results to"):
        predict_cases(tiny, find_cases([images]), tmp_path / "file")


def test_too_large_an_image_is_refused_before_it_is_read(segment, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "free_memory", lambda: 1000)
    monkeypatch.setattr(run_module, "read_channels", lambda paths: pytest.fail("read what does not fit"))
    assert set(segment().values()) == {"failed"}
    assert {record["code"] for record in report(tmp_path / "out")["cases"]} == {"too-large"}


# --- leftovers and interruption -----------------------------------------------------------------------------


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


def test_interrupted_run_reports_what_was_done(tiny, images, tmp_path):
    def stop(outcome):
        if outcome.case.name == "a":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_cases(tiny, find_cases([images]), tmp_path / "out", on_case=stop)
    found = report(tmp_path / "out")
    assert 1 <= found["cases_done"] < 3
    for record in found["cases"]:
        assert all((tmp_path / "out" / file).is_file() for file in record["outputs"].values())


def test_memory_is_announced_before_the_first_case(tiny, images, tmp_path):
    nib.save(nifti(hippocampus((26, 22, 18))[0]), images / "b.nii.gz")
    events = []
    predict_cases(
        tiny,
        find_cases([images]),
        tmp_path / "out",
        RunOptions(pictures=False),
        on_start=events.append,
        on_case=lambda outcome: events.append(outcome.case.name),
    )
    assert events[1:] == ["a", "b", "c"]
    assert events[0].startswith("memory: ")
    assert "26 x 22 x 18" in events[0]


# --- the overlap --------------------------------------------------------------------------------------------


def test_overlap_keeps_order_and_lets_nothing_pile_up():
    started, lock = [], threading.Lock()

    def work(item):
        with lock:
            started.append(item)
        return item * 10

    with ThreadPoolExecutor(1) as executor:
        for count, result in enumerate(_overlapped(executor, work, iter(range(6)))):
            assert result == count * 10
            assert len(started) <= count + 2


def test_overlap_does_not_keep_an_item_while_the_next_is_made():
    import weakref

    class Item:
        pass

    alive = []

    def items():
        for _ in range(4):
            item = Item()
            alive.append(weakref.ref(item))
            yield item
            del item
            time.sleep(0.02)  # the worker finishes and lets go
            assert alive[-1]() is None

    with ThreadPoolExecutor(1) as executor:
        list(_overlapped(executor, lambda item: None, items()))


def test_labels_do_not_depend_on_the_other_cases(tiny, segment, images, tmp_path):
    segment()
    alone = tiny.predict(images / "c.nii.gz").labels
    np.testing.assert_array_equal(
        np.asarray(nib.load(tmp_path / "out" / "labels" / "c.nii.gz").dataobj), alone
    )
