"""Whether two networks differ: paired over cases, bootstrapped by pair of crops, beside bounds of equivalence."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from medkit.metrics.paired import Interval, paired_interval

# Differences in Dice that are smaller than this are taken for none.
BOUND = 0.005


class Run(NamedTuple):
    """What a score belongs to, beside its network."""

    case: str
    fold: int
    seed: int


def pair_of_crops(case: str) -> int:
    """The scan that a crop comes from: ids 2k-1 and 2k are its two sides.

    >>> [pair_of_crops(f"hippocampus_{number:03d}") for number in (1, 2, 3, 4)]
    [1, 1, 2, 2]
    """
    return (int(case.rpartition("_")[2]) + 1) // 2


def difference(ours: Mapping[Run, float], others: Mapping[Run, float]) -> Interval:
    """Mean of ours minus others over the runs that both have; whole scans, with all their seeds, are drawn.

    Args:
        ours: finite scores of one network.
        others: of the other one.
    """
    common = sorted(ours.keys() & others.keys())
    return paired_interval(
        [ours[run] - others[run] for run in common], groups=[pair_of_crops(run.case) for run in common]
    )


def by_seed(ours: Mapping[Run, float], others: Mapping[Run, float]) -> dict[int, float]:
    """The mean difference with each seed: how much of it may be luck in training."""
    common = ours.keys() & others.keys()
    seeds = sorted({run.seed for run in common})
    found = {seed: [ours[run] - others[run] for run in sorted(common) if run.seed == seed] for seed in seeds}
    return {seed: math.fsum(values) / len(values) for seed, values in found.items()}


def verdict(interval: Interval) -> str:
    """What an interval says, and no more.

    "equivalent": all of it lies within the bounds. "better" or "worse": all of it lies beyond one of them. Otherwise,
    and where there is no interval, "not resolved".
    """
    if interval.low > -BOUND and interval.high < BOUND:
        return "equivalent"
    if interval.low >= BOUND:
        return "better"
    return "worse" if interval.high <= -BOUND else "not resolved"
