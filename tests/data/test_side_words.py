"""Which names of labels tell a side."""

from __future__ import annotations

import pytest

from medkit.data.side_words import LEFT_WORDS, OPPOSITE_WORDS, tells_sides


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


def test_each_word_has_an_opposite_that_leads_back():
    assert all(OPPOSITE_WORDS[OPPOSITE_WORDS[word]] == word for word in OPPOSITE_WORDS)
    assert {OPPOSITE_WORDS[word] for word in LEFT_WORDS} == {*OPPOSITE_WORDS} - {*LEFT_WORDS}
