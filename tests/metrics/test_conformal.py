"""Bounds of a new group's values: the guarantee itself over all ways to leave one out, and the ranks that give it."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from medkit.metrics.conformal import conformal_bounds, fewest_groups, mean_over_groups

LEVELS = st.sampled_from([0.5, 0.6, 0.75, 0.8])
VALUES = st.lists(st.floats(-3, 3) | st.sampled_from([0.0, 1.0]), min_size=1, max_size=4)
GROUPS = st.lists(VALUES, min_size=8, max_size=30)


def bounds_of(groups, level):
    values = [value for group in groups for value in group]
    return conformal_bounds(values, [k for k, group in enumerate(groups) for _ in group], level)


def shares_within(groups, level):
    """For every group in turn, the share of its values within the bounds that all others set."""
    for number, group in enumerate(groups):
        low, high = bounds_of(groups[:number] + groups[number + 1 :], level)
        yield Fraction(sum(low <= value <= high for value in group), len(group))


@settings(max_examples=60, deadline=None)
@given(GROUPS, LEVELS)
def test_whichever_group_is_the_new_one_on_average_the_level_is_kept(groups, level):
    """Of exchangeable groups each is as likely to be the new one: then this mean is the coverage, and it is exact."""
    assume(len(groups) > fewest_groups(level))
    shares = list(shares_within(groups, level))
    assert sum(shares) / len(shares) >= Fraction(str(level))


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(), min_size=8, max_size=40), LEVELS)
def test_bounds_are_no_wider_than_they_need_be(values, level):
    assume(len(values) > fewest_groups(level))
    shares = list(shares_within([[value] for value in values], level))
    assert sum(shares) / len(shares) <= Fraction(str(level)) + Fraction(2, len(values))


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("more", [0, 1, 2, 7, 100, 1000])
def test_with_one_value_a_group_the_upper_bound_is_numpys_order_statistic(level, more):
    count = fewest_groups(level) + more
    values = np.random.default_rng(0).normal(size=count)
    found = conformal_bounds(values.tolist(), range(count), level)
    rank = math.ceil((count + 1) * (1 + Fraction(str(level))) / 2)
    # Of the values and one at infinity, at a probability that rounding cannot push over an edge.
    for sign, bound in ((1, found.high), (-1, -found.low)):
        with_new = np.append(sign * values, np.inf)
        expected = np.quantile(with_new, (rank - 0.5) / (count + 1), method="inverted_cdf")
        assert bound == expected == np.sort(sign * values)[rank - 1]


@settings(max_examples=60, deadline=None)
@given(GROUPS, LEVELS)
def test_groups_weigh_the_same_however_many_values_they_have(groups, level):
    """By brute force: every group repeated until all have as many values, and a new one that lies anywhere."""
    assume(len(groups) >= fewest_groups(level))
    size = math.lcm(*map(len, groups))
    found = bounds_of(groups, level)
    rank = math.ceil(size * (len(groups) + 1) * (1 + Fraction(str(level))) / 2)
    for sign, bound in ((1, found.high), (-1, -found.low)):
        copies = sorted(sign * value for group in groups for value in group * (size // len(group)))
        assert bound == copies[rank - 1]


def test_a_repeated_value_makes_nothing_surer():
    values = np.random.default_rng(1).normal(size=25).tolist()
    assert bounds_of([[value] * 3 for value in values], 0.9) == bounds_of([[value] for value in values], 0.9)


@pytest.mark.parametrize(("level", "count"), [(0.5, 3), (0.8, 9), (0.9, 19), (0.95, 39), (0.99, 199)])
def test_the_fewest_groups_are_those_of_two_equal_tails_to_the_last(level, count):
    assert fewest_groups(level) == count


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_one_group_too_few_gives_no_bounds(level):
    count = fewest_groups(level)
    assert conformal_bounds(range(count - 1), range(count - 1), level) is None
    assert conformal_bounds(range(count), range(count), level) == (0, count - 1)
    assert conformal_bounds([], [], level) is None


def test_many_values_are_not_many_groups():
    assert conformal_bounds(range(1000), [number % 18 for number in range(1000)], 0.9) is None


@pytest.mark.parametrize("level", [0.0, 1.0, 90, -0.1])
def test_a_level_that_is_none_is_refused(level):
    with pytest.raises(ValueError, match="expected a level between 0 and 1"):
        conformal_bounds([1.0], [1], level)


def test_a_value_without_a_group_is_refused():
    with pytest.raises(ValueError, match="expected a group for each of 2 values, got 1 groups"):
        conformal_bounds([1.0, 2.0], [1], 0.9)


def test_means_are_those_of_groups():
    assert mean_over_groups([1, 0, 0, 0, 1], "aaabb") == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert math.isnan(mean_over_groups([], []))
