"""Numbers with the distributions that their names say; ranges that are none are refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medkit.errors import UsageError
from medkit.transforms.synthesis import draws
from tests.transforms.synthesis.drawn import assert_even, assert_proportion, rng


def test_uniform():
    source = rng()
    assert_even((draws.uniform(source, (-2, 5)) for _ in range(2000)), -2, 5)


def test_normal():
    source = rng()
    values = torch.tensor([draws.normal(source, 3.0) for _ in range(4000)])
    assert abs(values.mean()) < 0.2
    assert abs(values.std() - 3) < 0.15


@pytest.mark.parametrize("likelihood", [0.0, 0.03, 0.5, 0.9, 1.0])
def test_chance(likelihood):
    source = rng()
    assert_proportion((draws.chance(source, likelihood) for _ in range(4000)), likelihood)


def test_integer_has_both_ends():
    source = rng()
    values = [draws.integer(source, (2, 4)) for _ in range(3000)]
    for value in (2, 3, 4):
        assert_proportion((found == value for found in values), 1 / 3)
    assert {draws.choice(source, 3) for _ in range(100)} == {0, 1, 2}


def test_seeds_differ_and_fit_into_a_float():
    source = rng()
    seeds = {draws.seed(source) for _ in range(100)}
    assert len(seeds) == 100
    assert all(int(float(seed)) == seed for seed in seeds)


@given(st.floats(0, 1), st.floats(-1e3, 1e3), st.floats(0, 1e3))
def test_every_draw_takes_one_step_of_the_generator(likelihood, low, width):
    one, other = rng(7), rng(7)
    draws.chance(one, likelihood)
    draws.uniform(other, (low, low + width))
    assert torch.equal(one.get_state(), other.get_state())


def test_ranges_that_are_kept():
    assert draws.within("x", [1, 2]) == (1.0, 2.0)
    assert draws.within("x", (0, 0), 0) == (0.0, 0.0)


@pytest.mark.parametrize(
    "bounds", [(2, 1), (1,), (1, 2, 3), "ab", (-1, 1), (0, 5), 3, None, (float("nan"), 1)]
)
def test_ranges_that_are_refused(bounds):
    with pytest.raises(
        UsageError, match=r"^gain: expected two numbers in order between 0 and 4, got .*; correct it$"
    ):
        draws.within("gain", bounds, 0, 4)


def test_a_range_without_an_upper_end():
    with pytest.raises(UsageError, match=r"of at least 1, got \(0, 2\)"):
        draws.within("gain", (0, 2), 1)
    with pytest.raises(UsageError, match="expected two numbers in order, got"):
        draws.within("gain", (0, float("inf")))


def test_whole_numbers():
    assert draws.whole_within("lines", (2.0, 5), 1) == (2, 5)
    with pytest.raises(UsageError, match=r"lines: expected two whole numbers, got \(2, 5\.5\); correct it"):
        draws.whole_within("lines", (2, 5.5), 1)
    with pytest.raises(UsageError, match="lines: expected two numbers in order of at least 1"):
        draws.whole_within("lines", (0, 5), 1)


@pytest.mark.parametrize("value", [-0.1, 1.1, "half", None, float("nan")])
def test_probabilities_that_are_refused(value):
    with pytest.raises(UsageError, match=r"^often: expected a probability from 0 to 1, got "):
        draws.probability("often", value)
