"""Differences between twins: paired, drawn by scan, and called what they are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from segmenters_twins import BOUND, Run, by_seed, difference, scans, verdict

from medkit.metrics.paired import Interval


def runs(values, *, seed=0):
    return {Run(f"hippocampus_{number:03d}", 0, seed): value for number, value in values.items()}


def test_a_second_side_that_says_the_same_makes_nothing_surer():
    draw = np.random.default_rng(0)
    gains = {2 * k + 1: float(gain) for k, gain in enumerate(draw.normal(0.01, 0.02, 30))}
    both = gains | {number + 1: gain for number, gain in gains.items()}
    alone, paired = (difference(runs(each), runs(dict.fromkeys(each, 0.0))) for each in (gains, both))
    assert paired == pytest.approx(alone)
    independent = difference(
        runs({4 * k: gain for k, gain in enumerate(both.values(), 1)}),
        runs({4 * k: 0.0 for k in range(1, len(both) + 1)}),
    )
    assert independent.high - independent.low < 0.8 * (paired.high - paired.low)


def test_only_runs_that_both_have_are_compared():
    ours = runs({1: 0.9, 3: 0.8, 5: 0.1}) | runs({1: 0.7}, seed=1)
    others = runs({1: 0.8, 3: 0.8, 7: 1.0}) | runs({1: 0.8}, seed=1)
    assert difference(ours, others).mean == pytest.approx((0.1 + 0.0 - 0.1) / 3)
    assert by_seed(ours, others) == pytest.approx({0: 0.05, 1: -0.1})


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.004, 0.004, "equivalent"),
        (0.001, 0.004, "equivalent"),  # surely above zero, and too small to matter
        (-BOUND, 0.001, "not resolved"),
        (-0.02, 0.02, "not resolved"),
        (0.001, 0.009, "not resolved"),  # above zero, but perhaps too small to matter
        (0.006, 0.02, "better"),
        (-0.02, -0.006, "worse"),
        (math.nan, math.nan, "not resolved"),
    ],
)
def test_verdicts(low, high, expected):
    middle = (low + high) / 2
    assert verdict(Interval(middle, low, high), [middle, middle], 40) == expected


@pytest.mark.parametrize(
    ("low", "high", "seeds", "scans", "expected"),
    [
        (0.006, 0.02, [0.022, 0.004], 40, "not resolved"),  # the second does not say so
        (-0.02, -0.006, [-0.022, -0.004], 40, "not resolved"),
        (-0.004, 0.004, [0.006, -0.006], 40, "not resolved"),
        (0.006, 0.02, [0.013], 40, "none: fewer than 2 seeds"),
        (-0.004, 0.004, [0.0], 40, "none: fewer than 2 seeds"),
        (0.006, 0.02, [0.013, 0.013], 9, "none: fewer than 10 scans"),
    ],
)
def test_luck_in_training_and_few_scans_resolve_nothing(low, high, seeds, scans, expected):
    assert verdict(Interval((low + high) / 2, low, high), seeds, scans) == expected


def test_scans_are_counted_once_for_all_sides_and_seeds():
    ours = runs(dict.fromkeys((1, 2, 3), 0.9)) | runs({1: 0.9}, seed=1)
    assert scans(ours, ours | runs({9: 0.9})) == 2
