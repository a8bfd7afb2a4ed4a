"""Volumes of hippocampi beside those of an automatic tool."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from brain_heads import TEMPLATE
from hippocampus_volumetry import (
    asymmetry_text,
    inside,
    measured,
    metrics,
    silver_table,
    template_text,
    text_of,
)

from medkit.data import Grid, Volume, write_labels
from medkit.errors import CaseError

SIDES = ("left", "right")
GRID = Grid((20, 10, 10), np.diag([2.0, 2, 2, 1]))
NAMES = {
    1: "left anterior hippocampus",
    2: "left posterior hippocampus",
    3: "right anterior hippocampus",
    4: "right posterior hippocampus",
}
LEFT, RIGHT = 48, 47  # of DLMUSE


class Bundle:
    def __init__(self, labels):
        self.labels = labels

    def predict_volume(self, image):
        if not image.array.any():
            raise CaseError("not-recognised", "expected a brain")
        volumes = {name: np.count_nonzero(self.labels == value) * 0.008 for value, name in NAMES.items()}
        whole = {side: sum(ml for name, ml in volumes.items() if name.startswith(side)) for side in SIDES}
        intervals = {
            f"{side} whole hippocampus": SimpleNamespace(low=0.9 * ml, high=1.1 * ml)
            for side, ml in whole.items()
        }
        return SimpleNamespace(
            labels=self.labels,
            grid=GRID,
            label_names=NAMES,
            volumes_ml=volumes,
            volume_interval_ml=intervals,
            seconds={"inference": 2.0},
        )


@pytest.fixture
def labels():
    found = np.zeros(GRID.shape, np.uint8)
    found[3:7, 5:9, 3:7], found[3:7, 1:5, 3:7] = 1, 2
    found[13:17, 5:9, 3:7], found[13:17, 1:5, 3:7] = 3, 4
    return found


@pytest.fixture
def reference(labels, tmp_path):
    silver = np.where(labels == 0, 0, np.where(labels < 3, LEFT, RIGHT)).astype(np.uint8)
    silver[16] = 0  # a quarter of the right one
    write_labels(tmp_path / "silver.nii.gz", silver, GRID, {LEFT: "left", RIGHT: "right"})
    return tmp_path / "silver.nii.gz"


IMAGE = Volume(np.ones(GRID.shape, np.float32), GRID, "head")


def test_volumes_and_overlap_by_side(labels, reference):
    found = measured(Bundle(labels), IMAGE, reference)
    assert found["ml"] == pytest.approx({"left": 128 * 0.008, "right": 128 * 0.008})
    assert found["silver"]["left"] == pytest.approx({"ml": 128 * 0.008, "dice": 1.0})
    assert found["silver"]["right"] == pytest.approx({"ml": 96 * 0.008, "dice": 2 * 96 / (128 + 96)})
    assert found["swapped"] is False
    assert inside(found, "left")
    assert not inside(found, "right")


def test_swapped_sides_are_seen(labels):
    assert measured(Bundle(np.array([0, 3, 4, 1, 2], np.uint8)[labels]), IMAGE, None)["swapped"] is True
    assert measured(Bundle(labels * (labels < 3)), IMAGE, None)["swapped"] is True


def test_the_template(labels):
    even = measured(Bundle(labels), IMAGE, None)
    assert "left 1.02 ml (0.92 to 1.13)" in template_text(even)
    assert "0.0% apart. Aim: 3% at most, met." in template_text(even)
    labels[16] = 0
    assert "at most, not met." in template_text(measured(Bundle(labels), IMAGE, None))
    assert "at most, not met." in template_text(measured(Bundle(0 * labels), IMAGE, None))


def test_a_failed_head_is_told(labels, reference):
    empty = Volume(np.zeros(GRID.shape, np.float32), GRID, "empty")
    found = {
        TEMPLATE: measured(Bundle(labels), IMAGE, None),
        "IXI1": measured(Bundle(labels), IMAGE, reference),
        "IXI2": measured(Bundle(labels), empty, reference),
    }
    text = text_of(found)
    assert "2 of 3 heads segmented, 2.0 s a head" in text
    assert "IXI2 failed (not-recognised)." in text
    assert "| left | 1 of 2 | 1.02 ± nan |" in silver_table(found)
    # The tool has 96 of 128 voxels on the right.
    assert "in parts of their mean: +0.000 ± nan, DLMUSE -0.286 ± nan, correlation -." in text
    numbers = metrics(found)
    assert numbers["heads_failed"] == 1
    assert numbers["right_difference_ml_silver_standard"] == pytest.approx(32 * 0.008, abs=1e-4)
    assert template_text({"failed": "not-recognised"}).endswith("aim not met.")


def test_a_head_in_which_the_tool_found_a_side_alone_says_nothing_of_the_sides():
    def head(left: float, right: float, tool_left: float, tool_right: float) -> dict:
        silver = {"left": {"ml": tool_left}, "right": {"ml": tool_right}}
        return {"ml": {"left": left, "right": right}, "silver": silver}

    known = [head(3.0, 3.3, 3.6, 4.0), head(3.1, 3.2, 3.7, 3.9)]
    missed = [head(3.0, 3.3, 0.0, 0.0), head(3.0, 3.3, 0.0, 4.0), {"ml": {"left": 3.0, "right": 3.0}}]
    assert asymmetry_text([*known, *missed]) == asymmetry_text(known)
    assert asymmetry_text(known).startswith("Right less left, in parts of their mean: +0.063 ")
