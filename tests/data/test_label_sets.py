"""Values that leave open which class a voxel is of: what they become, and what is compared with them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medkit.data.label_sets import LabelSets, read_label_table
from medkit.errors import UsageError

CLASSES = {"0": "background", "1": "left matter", "2": "stem", "3": "right matter", "4": "fluid"}
PAIRS = [[1, 3]]
TABLE = [
    {"values": [0, 9], "classes": ["background", "fluid"]},
    {"values": [10, 20], "classes": ["left matter"]},
    {"values": [11], "classes": ["right matter"]},
    {"values": [30], "classes": ["stem", "left matter"]},
    {"values": [40], "classes": ["right matter", "left matter"]},
]


@pytest.fixture
def sets() -> LabelSets:
    return LabelSets(CLASSES, TABLE, PAIRS)


def test_classes_alone_come_first_under_their_own_numbers(sets: LabelSets):
    assert sets.sets[:5] == ((0,), (1,), (2,), (3,), (4,))
    assert set(sets.sets[5:]) == {(0, 4), (1, 2), (1, 3), (2, 3)}, (
        "the last is the mirror image of the second"
    )


def test_values_become_the_numbers_of_what_they_may_be(sets: LabelSets):
    labels = np.array([[0, 9, 10], [20, 30, 40]], np.uint8)
    members = [[sets.sets[number] for number in row] for row in sets.numbers(labels)]
    assert members == [[(0, 4), (0, 4), (1,)], [(1,), (1, 2), (1, 3)]]
    assert sets.values == (0, 9, 10, 11, 20, 30, 40)


def test_mirroring_swaps_sets_as_it_swaps_classes(sets: LabelSets):
    swapped = {frozenset(sets.sets[number] for number in pair) for pair in sets.pairs}
    assert swapped == {frozenset({(1,), (3,)}), frozenset({(1, 2), (2, 3)})}
    assert LabelSets(CLASSES, TABLE).pairs == []


def test_only_classes_that_a_value_stands_for_alone_are_compared(sets: LabelSets):
    assert sets.compared == {1: "left matter", 3: "right matter"}


def test_what_the_reference_leaves_open_counts_neither_way(sets: LabelSets):
    numbers = sets.numbers(np.array([30, 30, 30, 40, 0, 0, 10, 10]))
    predicted, known = sets.comparable(np.array([1, 2, 3, 3, 4, 1, 1, 2]), numbers)
    assert predicted.tolist() == [0, 0, 3, 0, 0, 1, 1, 2], (
        "3 in a set of 1 and 2, and 1 beyond the brain, are wrong"
    )
    assert known.tolist() == [0, 0, 0, 0, 0, 0, 1, 1]


@given(st.lists(st.tuples(st.sampled_from([0, 9, 10, 11, 20, 30, 40]), st.integers(0, 4)), min_size=1))
def test_a_prediction_that_the_reference_allows_everywhere_has_no_fault(voxels):
    sets = LabelSets(CLASSES, TABLE, PAIRS)
    numbers = sets.numbers(np.array([value for value, _ in voxels]))
    allowed = np.array(
        [sets.sets[n][pick % len(sets.sets[n])] for n, (_, pick) in zip(numbers, voxels, strict=True)]
    )
    predicted, known = sets.comparable(allowed, numbers)
    assert np.array_equal(predicted, known)


def test_values_that_the_table_lacks_are_named(sets: LabelSets):
    with pytest.raises(UsageError, match=r"values of the table \(7 of them, 0 to 40\), got 8, 207; add them"):
        sets.numbers(np.array([0, 207, 8, 10]))


def test_labels_between_whole_numbers_are_no_labels(sets: LabelSets):
    assert sets.numbers(np.array([10.0, 10.0004])).tolist() == [1, 1]
    with pytest.raises(UsageError, match=r"expected values of the table .*, got 10\.5"):
        sets.numbers(np.array([10.0, 10.5]))


def test_a_table_in_a_file(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps(TABLE))
    assert LabelSets(CLASSES, read_label_table(path), PAIRS).sets == LabelSets(CLASSES, TABLE, PAIRS).sets


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("[", "cannot be read"),
        ('{"1": "a"}', "expected a list of objects"),
        ("[1]", "expected a list of objects"),
    ],
)
def test_a_file_that_is_no_table(tmp_path, content, message):
    path = tmp_path / "table.json"
    if content:
        path.write_text(content)
    with pytest.raises(UsageError, match=rf"table\.json: .*{message}"):
        read_label_table(path)


@pytest.mark.parametrize(
    ("classes", "table", "message"),
    [
        (
            {0: "background", 2: "stem"},
            TABLE,
            r"classes: expected values from 0 on without a gap, got \[0, 2\]",
        ),
        (
            CLASSES,
            [{"values": [1], "classes": ["steam"]}],
            r"expected names of classes, background, .*, got steam",
        ),
        (CLASSES, [*TABLE, {"values": [11], "classes": ["stem"]}], r"values, each in one row, got \[11\]"),
        (CLASSES, [{"values": [1, 1], "classes": ["stem"]}], r"values, each in one row, got \[1\]"),
        (CLASSES, [], "values, each in one row, got none"),
        (CLASSES, [{"values": [1], "classes": []}], "expected rows of values, .* and of classes"),
        (CLASSES, [{"classes": ["stem"]}], "expected rows of values, .* and of classes"),
        (CLASSES, [{"values": [-1], "classes": ["stem"]}], "expected rows of values, whole numbers from 0"),
    ],
)
def test_faults_of_a_table_are_told(classes, table, message):
    with pytest.raises(UsageError, match=message):
        LabelSets(classes, table, PAIRS)
