"""What fails stays alone, says why, and is tried again."""

from __future__ import annotations

import pytest

import medkit
from medkit.inference import run as run_module
from tests.inference.run.reports import report
from tests.phantoms import write_hippocampus


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


def test_too_large_an_image_is_refused_before_it_is_read(segment, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "free_memory", lambda: 1000)
    monkeypatch.setattr(run_module, "read_channels", lambda paths: pytest.fail("read what does not fit"))
    assert set(segment().values()) == {"failed"}
    assert {record["code"] for record in report(tmp_path / "out")["cases"]} == {"too-large"}
