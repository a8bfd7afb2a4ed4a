"""Bootstrap intervals of paired differences."""

from __future__ import annotations

import numpy as np
import pytest

from medkit.errors import UsageError
from medkit.metrics.paired import paired_interval


def test_the_interval_is_near_that_of_the_normal_distribution():
    differences = np.random.default_rng(1).normal(0.3, 1.0, 400)
    mean, low, high = paired_interval(differences)
    half = 1.96 * differences.std(ddof=1) / np.sqrt(len(differences))
    assert mean == pytest.approx(differences.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.1 * half)


def test_copies_of_a_case_add_no_certainty_when_they_are_one_group():
    differences = np.random.default_rng(2).normal(0.0, 1.0, 40)
    twice = np.repeat(differences, 2)
    alone = paired_interval(differences)
    grouped = paired_interval(twice, groups=[f"scan-{number // 2}" for number in range(80)])
    naive = paired_interval(twice)
    assert grouped == pytest.approx(alone, abs=0.02)
    assert naive[2] - naive[1] < 0.8 * (grouped[2] - grouped[1])


def test_groups_of_different_size_keep_the_mean_over_cases():
    mean, low, high = paired_interval([1.0, 1.0, 1.0, 3.0, 2.0], groups=["a", "a", "a", "b", "c"])
    assert mean == pytest.approx(1.6)
    assert low <= mean <= high


def test_the_interval_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        _, low, high = paired_interval(generator.normal(0.5, 1.0, 30), resamples=400)
        covered += low <= 0.5 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_the_seed_replays():
    differences = np.random.default_rng(5).normal(0.0, 1.0, 20)
    assert paired_interval(differences, seed=7) == paired_interval(differences, seed=7)
    assert paired_interval(differences, seed=7) != paired_interval(differences, seed=8)


@pytest.mark.parametrize(
    ("differences", "groups", "expected"),
    [
        ([0.25, 0.25, 0.25], None, (0.25, 0.25, 0.25)),
        ([0.5], None, (0.5, np.nan, np.nan)),
        ([0.5, 1.5], ["a", "a"], (1.0, np.nan, np.nan)),
        ([], None, (np.nan, np.nan, np.nan)),
    ],
    ids=["constant", "one case", "one group", "none"],
)
def test_too_little_for_an_interval(differences, groups, expected, recwarn):
    assert paired_interval(differences, groups=groups) == pytest.approx(expected, nan_ok=True)
    assert not recwarn.list


def test_what_is_not_finite_is_refused():
    with pytest.raises(UsageError, match="finite"):
        paired_interval([0.1, np.inf])


def test_groups_must_fit():
    with pytest.raises(UsageError, match="3 differences, got 2"):
        paired_interval([0.1, 0.2, 0.3], groups=["a", "b"])
