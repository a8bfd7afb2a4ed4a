"""Agreement of label maps of brains, on one grid or two, and left against right."""

from __future__ import annotations

import numpy as np
import pytest
from brain_scores import (
    dice_by_name,
    dice_rows,
    difference_of_volumes,
    of_other_side,
    on_grid,
    refused_rows,
    relative_difference,
    score_rows,
    shown_by,
    sides,
    swapped,
    volumes_by_name,
)

from medkit.data import Grid
from tests.head_phantom import head

VALUES = {0: 0, 2: 1, 41: 2, 17: 3, 53: 4, 16: 5}
NAMES = {
    1: "left cerebral white matter",
    2: "right cerebral white matter",
    3: "left hippocampus",
    4: "right hippocampus",
    5: "brain-stem",
}


@pytest.fixture
def labels():
    values = head()[0, 0].numpy()
    return np.vectorize(lambda value: VALUES.get(value, 0), otypes=[np.uint8])(values)


GRID = Grid((40, 48, 44), np.array([[1.0, 0, 0, -20], [0, 1, 0, 3], [0, 0, 1, 4], [0, 0, 0, 1]]))


def test_dice_is_that_of_the_scores(labels):
    moved = np.roll(labels, 2, axis=1)
    quick = dice_by_name(moved, labels, NAMES)
    rows = score_rows(moved, labels, GRID, NAMES, "anna")
    assert {row["name"]: row["dice"] for row in rows} == pytest.approx(quick, abs=1e-6)
    assert {row["case"] for row in rows} == {"anna"}
    without_surfaces = dice_rows(moved, labels, NAMES, "anna")
    assert [row["dice"] for row in without_surfaces] == list(quick.values())
    assert [row["label"] for row in without_surfaces] == [row["label"] for row in rows]
    assert 0 < min(quick.values()) < max(quick.values()) < 1


def test_what_is_in_neither_map_has_no_dice(labels):
    assert "brain-stem" not in dice_by_name(labels * (labels < 5), labels * (labels < 5), NAMES)
    assert dice_by_name(labels * (labels < 5), labels, NAMES)["brain-stem"] == 0


def test_scores_that_are_not_finite_are_words(labels):
    rows = {row["name"]: row for row in score_rows(labels * (labels < 5), labels, GRID, NAMES, "anna")}
    assert rows["brain-stem"]["hd95_mm"] == "inf"
    absent = labels * (labels < 5)
    assert score_rows(absent, absent, GRID, NAMES, "anna")[-1]["dice"] is None


def test_of_a_refused_head_nothing_was_found():
    rows = refused_rows({0: "background", **NAMES}, "anna")
    assert [row["name"] for row in rows] == list(NAMES.values())
    assert {row["dice"] for row in rows} == {0.0}


def test_labels_go_to_another_grid_by_their_place(labels):
    flipped = Grid(GRID.shape, GRID.affine @ np.diag([-1.0, 1, 1, 1]) + np.eye(4)[:, [3]] * 0)
    affine = GRID.affine.copy()
    affine[0] = [-1, 0, 0, -20 + 39]
    flipped = Grid(GRID.shape, affine)
    np.testing.assert_array_equal(on_grid(labels[::-1], flipped, GRID), labels)
    fine = np.repeat(labels, 2, axis=2)
    affine = GRID.affine.copy()
    affine[2] = [0, 0, 0.5, 4 - 0.25]
    np.testing.assert_array_equal(on_grid(fine, Grid(fine.shape, affine), GRID), labels)


def test_beyond_a_grid_nothing_is_shown():
    part = Grid((40, 48, 10), GRID.affine)
    shown = shown_by(part, GRID)
    assert shown[:, :, :10].all()
    assert not shown[:, :, 10:].any()


def test_volumes_are_millilitres(labels):
    volumes = volumes_by_name(labels, Grid(GRID.shape, np.diag([2.0, 1, 1, 1])), NAMES)
    assert volumes["brain-stem"] == pytest.approx(np.count_nonzero(labels == 5) * 0.002)
    assert difference_of_volumes(volumes, volumes) == 0
    assert relative_difference(3, 1) == 1
    assert relative_difference(0, 1) == 2
    assert relative_difference(0, 0) == 0


def test_names_change_sides(labels):
    assert of_other_side({0: "background", **NAMES}) == {0: 0, 1: 2, 2: 1, 3: 4, 4: 3, 5: 5}
    other = swapped(labels, NAMES)
    np.testing.assert_array_equal(other == 4, labels == 3)
    np.testing.assert_array_equal(other == 5, labels == 5)
    np.testing.assert_array_equal(swapped(other, NAMES), labels)


def test_sides_of_a_head(labels):
    assert sides(labels, GRID, NAMES) == {"swapped": False, "wrong_side": 0.0}
    assert sides(swapped(labels, NAMES), GRID, NAMES) == {"swapped": True, "wrong_side": 1.0}
    mirrored = Grid(GRID.shape, np.diag([-1.0, 1, 1, 1]) @ GRID.affine)
    assert sides(labels, mirrored, NAMES)["swapped"] is True
    assert sides(labels * (labels != 3), GRID, NAMES) == {"swapped": None, "wrong_side": None}


def test_a_part_of_a_hippocampus_beyond_the_middle(labels):
    smaller = np.count_nonzero(labels == 3)
    labels[30:34, 10:14, 10:14] = np.where(labels[30:34, 10:14, 10:14] == 4, 4, 3)
    strayed = np.count_nonzero(labels == 3) - smaller
    found = sides(labels, GRID, NAMES)
    assert found["swapped"] is False
    assert found["wrong_side"] == pytest.approx(strayed / np.count_nonzero((labels == 3) | (labels == 4)))
