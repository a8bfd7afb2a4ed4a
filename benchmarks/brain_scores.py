"""What two label maps of brains have in common, and whether left and right are where they should be."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from statistics import fmean
from typing import Any

import numpy as np
from scipy.ndimage import affine_transform

from medkit.data import Grid
from medkit.metrics.segmentation import AGREEMENT, LabelScore, score_case

LEFT, RIGHT = "left ", "right "
HIPPOCAMPI = ("left hippocampus", "right hippocampus")
# Structures whose middles say where left and right are; the largest ones.
_HALVES = ("left cerebral white matter", "right cerebral white matter")
Rows = list[dict[str, Any]]


def on_grid(labels: np.ndarray, grid: Grid, wanted: Grid) -> np.ndarray:
    """The nearest voxel's label on another grid; 0 beyond the first one."""
    matrix = np.linalg.inv(grid.affine) @ wanted.affine
    return affine_transform(labels, matrix, order=0, output_shape=wanted.shape, mode="grid-constant", cval=0)


def shown_by(grid: Grid, wanted: Grid) -> np.ndarray:
    """Which voxels of another grid an image shows."""
    return on_grid(np.ones(grid.shape, np.uint8), grid, wanted) > 0


def score_rows(found: np.ndarray, truth: np.ndarray, grid: Grid, names: Mapping[int, str], case: str) -> Rows:
    """Dice, surface Dice and HD95 of each structure, as records keep them."""
    labels = (found.astype(np.int32), truth.astype(np.int32))
    scores = score_case(*labels, grid.spacing, names, voxel_volume_ml=grid.voxel_volume_ml)
    return [as_row(score, case) for score in scores]


def as_row(score: LabelScore, case: str) -> dict[str, Any]:
    """A score as records keep it: infinite as a word, ``None`` for what is undefined."""
    values = asdict(score)
    return {"case": case, **values, **{name: _safe(values[name]) for name in AGREEMENT}}


def refused_rows(names: Mapping[int, str], case: str) -> Rows:
    """Of a head that a bundle refused: nothing of it was found."""
    missed = {"dice": 0.0, "surface_dice": 0.0, "hd95_mm": "inf", "volume_ml": 0.0}
    return [{"case": case, "label": value, "name": name, **missed} for value, name in names.items() if value]


def _safe(value: float) -> float | str | None:
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)


def dice_by_name(first: np.ndarray, second: np.ndarray, names: Mapping[int, str]) -> dict[str, float]:
    """Dice of each structure that is in either map: all of them in one pass."""
    count = max(names) + 1
    both = np.where(first == second, first, 0)
    sizes = [np.bincount(labels.ravel(), minlength=count) for labels in (both, first, second)]
    found = {}
    for value, name in names.items():
        common, one, other = (int(size[value]) for size in sizes)
        if value and one + other:
            found[name] = 2 * common / (one + other)
    return found


def dice_rows(found: np.ndarray, truth: np.ndarray, names: Mapping[int, str], case: str) -> Rows:
    """As :func:`score_rows`, without what takes surfaces."""
    dices = dice_by_name(found, truth, names)
    return [
        {
            "case": case,
            "label": value,
            "name": name,
            "dice": dices.get(name),
            "surface_dice": None,
            "hd95_mm": None,
        }
        for value, name in names.items()
        if value
    ]


def volumes_by_name(labels: np.ndarray, grid: Grid, names: Mapping[int, str]) -> dict[str, float]:
    """Millilitres of each structure."""
    counts = np.bincount(labels.ravel(), minlength=max(names) + 1)
    return {name: float(counts[value]) * grid.voxel_volume_ml for value, name in names.items() if value}


def relative_difference(first: float, second: float) -> float:
    """Of two volumes, without sign, in parts of their mean; 2 where one of them is nothing."""
    return 2 * abs(first - second) / (first + second) if first + second else 0.0


def difference_of_volumes(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    """Mean over structures that either has."""
    return fmean(
        relative_difference(first[name], second[name]) for name in first if first[name] + second[name]
    )


def of_other_side(names: Mapping[int, str]) -> dict[int, int]:
    """The value of each structure's like on the other side; its own where there is none.

    >>> of_other_side({1: "left putamen", 2: "right putamen", 3: "brain-stem"})
    {1: 2, 2: 1, 3: 3}
    """
    values = {name: value for value, name in names.items()}
    return {value: values[_other(name)] for value, name in names.items()}


def _other(name: str) -> str:
    for own, other in ((LEFT, RIGHT), (RIGHT, LEFT)):
        if name.startswith(own):
            return other + name.removeprefix(own)
    return name


def swapped(labels: np.ndarray, names: Mapping[int, str]) -> np.ndarray:
    """The same map with left and right names changed for each other."""
    table = np.arange(max(names) + 1, dtype=labels.dtype)
    for value, other in of_other_side(names).items():
        table[value] = other
    return table[labels]


def sides(labels: np.ndarray, grid: Grid, names: Mapping[int, str]) -> dict[str, Any]:
    """Where left and right hippocampus lie.

    Returns:
        ``swapped``: whether the left one's middle lies further to the right than the right one's, ``None`` where one of
        them was not found; ``wrong_side``: the part of both that lies beyond the plane between the halves of the brain.
    """
    left, right = (_places(labels, grid, names, name) for name in HIPPOCAMPI)
    if not len(left) or not len(right):
        return {"swapped": None, "wrong_side": None}
    white = [_places(labels, grid, names, name) for name in _HALVES]
    if any(len(half) == 0 for half in white):
        white = [left, right]
    middles = [half.mean(0) for half in white]
    across = middles[1] - middles[0]
    across *= np.sign(across[0]) or 1.0  # to the right, whatever the halves were called
    ahead = [(places - (middles[0] + middles[1]) / 2) @ across for places in (left, right)]
    wrong = np.count_nonzero(ahead[0] > 0) + np.count_nonzero(ahead[1] < 0)
    return {
        "swapped": bool(left[:, 0].mean() > right[:, 0].mean()),
        "wrong_side": float(wrong / (len(left) + len(right))),
    }


def _places(labels: np.ndarray, grid: Grid, names: Mapping[int, str], name: str) -> np.ndarray:
    """``(n, 3)`` RAS millimetres of a structure's voxels."""
    value = next(value for value, own in names.items() if own == name)
    return np.argwhere(labels == value) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
