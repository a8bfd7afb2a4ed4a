"""The silver standard: which values the tool's maps hold, where its sides lie, and what is compared with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dlmuse import label_sets, silver_cases, silver_scores

from medkit.data import Grid, Volume, read_volume

KNOWN_FAILURES = ("IXI175", "IXI256", "IXI438")
# What the tool has no value of its own for: how wide the rim of fluid is, it sees differently.
NOT_COMPARED = {"background", "cerebrospinal fluid"}


@pytest.fixture(scope="module")
def maps(real_data: Path) -> list[Volume]:
    assert real_data
    return [read_volume(case.reference) for case in silver_cases()]


def test_all_cases_but_the_known_failures_are_in_one_of_five_folds(real_data: Path):
    cases = silver_cases()
    files = {path.name.removesuffix("_T1.nii.gz") for path in (real_data / "ixi_t1" / "t1").iterdir()}
    left_out = files - {case.name for case in cases}
    assert sorted(name[:6] for name in left_out) == sorted(KNOWN_FAILURES)
    assert len(cases) == len({case.name for case in cases}) == 61
    assert sorted({case.fold for case in cases}) == [0, 1, 2, 3, 4]
    assert all(case.name in case.image.name and case.name in case.reference.name for case in cases)


def test_the_table_has_just_the_values_that_the_maps_hold(maps: list[Volume]):
    held = {int(value) for volume in maps for value in np.unique(volume.array)}
    assert set(label_sets().values) == held


def test_sides_of_the_table_are_those_of_the_scans(maps: list[Volume]):
    """World coordinates grow to the right: each value of the right lies there of its opposite, in every head."""
    sets = label_sets()
    for volume in maps:
        to_the_right = _coordinate_to_the_right(volume)
        numbers = sets.numbers(volume.array)
        for left, right in sets.pairs:
            sides = [to_the_right[numbers == number] for number in (left, right)]
            if min(map(len, sides)):
                assert np.mean(sides[0]) < np.mean(sides[1]), f"{volume.name}: {sets.sets[left]}"


def test_every_structure_but_the_fluid_around_the_brain_is_compared():
    sets = label_sets()
    names = _class_names()
    assert set(names.values()) - set(sets.compared.values()) == NOT_COMPARED


def test_the_reference_agrees_with_itself_and_not_with_its_mirror_image(maps: list[Volume]):
    sets, reference = label_sets(), maps[0]
    numbers = sets.numbers(reference.array)
    itself = np.array([members[0] for members in sets.sets])[numbers]
    assert {score.dice for score in silver_scores(itself, reference, sets)} == {1.0}
    opposite = {a: b for left, right in sets.pairs for a, b in ((left, right), (right, left))}
    swapped = np.array([opposite.get(members[0], members[0]) for members in sets.sets])[numbers]
    scores = {score.name: score.dice for score in silver_scores(swapped, reference, sets)}
    assert scores["left hippocampus"] == scores["right hippocampus"] == 0.0
    assert scores["brain-stem"] == 1.0


def test_a_label_map_of_another_grid_is_refused():
    reference = Volume(np.zeros((2, 2, 2), np.uint8), Grid((2, 2, 2), np.eye(4)), "case")
    with pytest.raises(ValueError, match=r"expected a label map of shape \(2, 2, 2\), got \(3, 2, 2\)"):
        silver_scores(np.zeros((3, 2, 2), np.uint8), reference, label_sets())


def _coordinate_to_the_right(volume: Volume) -> np.ndarray:
    row = volume.grid.affine[0]
    return sum(row[axis] * index for axis, index in enumerate(np.indices(volume.grid.shape))) + row[3]


def _class_names() -> dict[int, str]:
    from dlmuse import BUNDLE

    from medkit.bundle.build import sources_root
    from medkit.bundle.fragments import read_fragment

    return read_fragment(sources_root() / BUNDLE / "network.yaml")["label_names"]
