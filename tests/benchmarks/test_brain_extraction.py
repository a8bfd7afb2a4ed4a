"""Masks of brains against references, and against each other, whatever tool wrote them."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import brain_extraction
import numpy as np
import pytest
from brain_extraction import (
    NATIVE,
    OURS,
    Head,
    adults,
    aim,
    dice,
    metrics,
    packages,
    rivals,
    rows_of,
    silver_brain,
    synthetic_heads,
    tables,
)
from results import Results

from medkit.data import Grid, write_labels, write_volume

GRID = Grid((20, 24, 18), np.diag([1.0, 1, 1, 1]))
TITLES = {OURS: "ours", "bet": "BET"}


@pytest.fixture
def brain():
    mask = np.zeros(GRID.shape, bool)
    mask[5:15, 5:19, 4:14] = True
    return mask


@pytest.fixture
def heads(tmp_path, brain):
    fluid = np.zeros_like(brain)
    fluid[4:16, 4:20, 3:15] = True
    found = {}
    for case, group in (("a", "synthetic, T1, 1 mm"), ("b", NATIVE), ("c", NATIVE)):
        path = tmp_path / "images" / f"{case}.nii.gz"
        write_volume(path, brain.astype(np.float32), GRID)
        reference = (lambda: ({"brain": brain, "brain and fluid": fluid}, GRID)) if group != NATIVE else None
        found[case] = Head(group, path, reference)
    return found


def write(work, method, case, labels, grid=GRID):
    folder = work / OURS / "labels" if method == OURS else work / method
    write_labels(
        folder / f"{case}.nii.gz", labels.astype(np.uint8), grid, {1: "brain", 2: "cerebrospinal fluid"}
    )


def test_masks_are_held_against_the_brain_and_against_brain_and_fluid(tmp_path, heads, brain):
    labels = np.where(brain, 1, 0)
    labels[4, 4:20, 3:15] = 2
    for case in heads:
        write(tmp_path, OURS, case, labels)
        write(tmp_path, "bet", case, labels > 0)
    made = {case: {"failed": None, "seconds": 2.0} for case in heads}
    own, bet = (rows_of(tmp_path, method, heads, made) for method in (OURS, "bet"))
    first = own["synthetic, T1, 1 mm"]
    assert first["brain"] == 1
    assert first["brain and fluid"] < 1
    assert bet["synthetic, T1, 1 mm"]["brain"] < 1
    assert bet["synthetic, T1, 1 mm"]["brain and fluid"] == first["brain and fluid"]
    assert own[NATIVE]["agreement"] == 1
    assert own[NATIVE]["seconds"] == 2.0
    text = tables({OURS: own, "bet": bet}, TITLES)
    assert "| synthetic, T1, 1 mm | ours | 1 | 1.000 | 1.000 |" in text
    assert f"| {NATIVE} | BET | 2 | - | - | - | 1.000 | 2.0 |" in text
    assert metrics(own) == {"mean_dice_synthetic_1_mm": 1.0, "seconds": 2.0}
    assert "2.0 s, met" in aim(own, 4)
    assert "Measured with 8 threads, the slowest kind of head: 2.0 s, no answer." in aim(own, 8)


def test_masks_of_another_grid_are_brought_to_the_reference(tmp_path, heads, brain):
    thick = Grid((20, 24, 9), np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0.5], [0, 0, 0, 1]]))
    write(tmp_path, "bet", "a", brain[:, :, ::2], thick)
    one = {"a": heads["a"]}
    rows = rows_of(tmp_path, "bet", one, {"a": {"failed": None, "seconds": 1.0}})
    assert rows["synthetic, T1, 1 mm"]["brain"] == 1


def test_a_head_on_which_a_method_failed_counts(tmp_path, heads):
    made = {case: {"failed": "not-recognised"} for case in heads}
    rows = rows_of(tmp_path, OURS, heads, made)
    assert rows["synthetic, T1, 1 mm"]["brain"] == 0
    assert rows[NATIVE]["agreement"] is None
    assert "1 (1 failed)" in tables({OURS: rows}, TITLES)
    assert aim(rows, 4) == "No head was segmented."


def test_dice_of_nothing_is_nothing():
    empty = np.zeros(3, bool)
    assert dice(empty, empty) == 0
    assert dice(~empty, ~empty) == 1


def test_the_brain_of_a_silver_standard_has_neither_background_nor_rim():
    found = silver_brain(np.array([0, 1, 4, 11, 35, 46, 30]))
    assert found.tolist() == [False, False, True, True, True, True, True]


def test_adults_are_spread_over_all(real_data):
    chosen = adults()
    assert len(chosen) == 20
    mask, grid = next(iter(chosen.values())).reference()
    litres = np.count_nonzero(mask["brain"]) * grid.voxel_volume_ml / 1000
    assert 0.9 < litres < 1.8


def test_images_are_written_once(tmp_path):
    made = SimpleNamespace(
        image=SimpleNamespace(array=np.ones(GRID.shape, np.float32), grid=GRID), truth=None, grid=GRID
    )
    calls = []
    maps = SimpleNamespace(maps={"m": None}, make=lambda *what: calls.append(what) or made)
    first = synthetic_heads(maps, tmp_path)
    assert len(first) == len(calls) == 5
    assert all(head.image.is_file() for head in first.values())
    synthetic_heads(maps, tmp_path)
    assert len(calls) == 5


def test_an_environment_without_the_others_is_told():
    with pytest.raises(SystemExit, match="expected an interpreter with brainextractor and dipy"):
        packages(sys.executable)


def test_others_are_asked_once_and_their_failures_kept(tmp_path, heads, monkeypatch):
    asked = []

    def lines(python, method, jobs):
        for image, mask in jobs:
            asked.append(json.dumps([image, mask]))
            yield (
                {"failed": "ValueError: no"}
                if image.endswith("a.nii.gz")
                else {"failed": None, "seconds": 1.0}
            )

    monkeypatch.setattr(brain_extraction, "packages", lambda python: {"dipy": "1"})
    monkeypatch.setattr(brain_extraction, "_rival_lines", lines)
    results = Results(tmp_path / "r.jsonl")
    for case in "bc":
        write(tmp_path, "bet", case, np.ones(GRID.shape))
    first = rivals("python", "bet", heads, results, {}, tmp_path)
    assert first["a"]["failed"] == "ValueError: no"
    assert rivals("python", "bet", heads, results, {}, tmp_path) == first
    assert len(asked) == 3


def test_a_head_on_which_the_others_die_is_tried_twice_and_the_rest_done(monkeypatch):
    begun = []

    def process(python, method, jobs):
        begun.append([image for image, _ in jobs])
        for image, _ in jobs:
            if image == "deadly":
                yield {"status": -11}
                return
            yield {"failed": None, "seconds": 1.0}

    monkeypatch.setattr(brain_extraction, "_process", process)
    names = ["a", "deadly", "b"]
    made = list(brain_extraction._rival_lines("python", "bet", [[name, ""] for name in names]))
    assert [values["failed"] for values in made] == [None, "ended with status -11", None]
    assert begun == [names, names[1:], names[2:]]
