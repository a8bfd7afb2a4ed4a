"""One score over many cases."""

from __future__ import annotations

import math

import pytest

from medkit.metrics.summary import summarise


def test_plain_scores():
    found = summarise({"a": 0.9, "b": 0.7, "c": 0.8}, higher_is_better=True)
    assert (found.n, found.n_infinite, found.worst, found.worst_case) == (3, 0, 0.7, "b")
    assert (found.mean, found.sd, found.median) == pytest.approx((0.8, 0.1, 0.8))


def test_the_worst_of_a_distance_is_the_largest():
    assert summarise({"a": 1.0, "b": 4.0}, higher_is_better=False).worst_case == "b"


def test_infinite_scores_count_but_stay_out_of_the_mean():
    found = summarise({"a": 1.0, "b": math.inf, "c": 3.0}, higher_is_better=False)
    assert (found.n, found.n_infinite, found.mean, found.median) == (3, 1, 2.0, 3.0)
    assert (found.worst, found.worst_case) == (math.inf, "b")


def test_undefined_scores_are_left_out():
    found = summarise({"a": math.nan, "b": 0.5}, higher_is_better=True)
    assert (found.n, found.mean, found.worst_case) == (1, 0.5, "b")
    assert math.isnan(found.sd)


@pytest.mark.parametrize("values", [{}, {"a": math.nan}], ids=["no case", "undefined"])
def test_nothing_to_summarise(values, recwarn):
    found = summarise(values, higher_is_better=True)
    assert (found.n, found.worst_case) == (0, None)
    assert all(math.isnan(value) for value in (found.mean, found.sd, found.median, found.worst))
    assert not recwarn.list
