"""Which names of labels tell a side."""

from __future__ import annotations

import pytest

from medkit.data.side_words import (
    LEFT_WORDS,
    OPPOSITE_WORDS,
    opposite_words,
    structures,
    tells_sides,
    without_side,
)


@pytest.mark.parametrize(
    ("names", "stated", "expected"),
    [
        (["background", "left kidney", "liver"], None, True),
        (["background", "Putamen_R"], None, True),
        (["background", "kidney", "liver"], None, False),
        (["L"], None, False),
        (["background", "left", "right"], None, True),
        (["background", "leftKidney"], None, True),
        (["background", "bright lesion"], None, False),
        ([], None, False),
        (["left ventricle", "right ventricle"], [], False),
        (["links", "rechts"], [["links", "rechts"]], True),
    ],
)
def test_labels_that_lie_on_a_side(names, stated, expected):
    assert tells_sides(names, stated) is expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({1: "left kidney", 2: "liver", 3: "right kidney"}, [(1, 3), (2,)]),
        ({4: "Kidney_R", 9: "kidney L"}, [(9, 4)]),
        ({1: "left upper lobe", 2: "right upper lobe", 3: "right middle lobe"}, [(1, 2), (3,)]),
        ({1: "left", 2: "right"}, [(1,), (2,)]),
        ({1: "L", 2: "R"}, [(1,), (2,)]),
        ({1: "left kidney", 2: "left kidney", 3: "right kidney"}, [(1,), (2,), (3,)]),
        ({1: "left half of the right kidney", 2: "right half of the left kidney"}, [(1,), (2,)]),
        ({1: "tumour", 2: "tumour"}, [(1,), (2,)]),
        ({0: "lh cortex", 1: "rh cortex"}, [(0, 1)]),
        ({}, []),
    ],
)
def test_two_sides_are_one_structure(names, expected):
    assert structures(names) == expected
    assert structures(dict(reversed(names.items()))) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("left ventral DC", "ventral DC"),
        ("Left-Cerebral-White-Matter", "Cerebral White Matter"),
        ("kidney (right)", "kidney"),
        ("brain-stem", "brain-stem"),
        ("left", "left"),
    ],
)
def test_a_name_without_its_side(name, expected):
    assert without_side(name) == expected


def test_what_has_two_sides_or_none_has_no_opposite():
    assert opposite_words(("left", "half", "of", "the", "right", "kidney")) is None
    assert opposite_words(("liver",)) is None
    assert opposite_words(("kidney", "lt")) == ("kidney", "rt")


def test_each_word_has_an_opposite_that_leads_back():
    assert all(OPPOSITE_WORDS[OPPOSITE_WORDS[word]] == word for word in OPPOSITE_WORDS)
    assert {OPPOSITE_WORDS[word] for word in LEFT_WORDS} == {*OPPOSITE_WORDS} - {*LEFT_WORDS}
