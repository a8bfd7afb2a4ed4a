"""Whether two networks differ: paired over cases, bootstrapped by pair of crops, beside bounds of equivalence."""

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

from medkit.data.case_groups import case_group
from medkit.metrics.paired import Interval, paired_interval

# Differences in Dice that are smaller than this are taken for none.
BOUND = 0.005
# With fewer, no verdict.
FEWEST_SEEDS, FEWEST_SCANS = 2, 10
SIDES = 2  # crops of a scan, with numbers 2k-1 and 2k


class Run(NamedTuple):
    """What a score belongs to, beside its network."""

    case: str
    fold: int
    seed: int


def difference(ours: Mapping[Run, float], others: Mapping[Run, float]) -> Interval:
    """Mean of ours minus others over the runs that both have; whole scans, with all their seeds, are drawn.

    Args:
        ours: finite scores of one network.
        others: of the other one.
    """
    common = sorted(ours.keys() & others.keys())
    return paired_interval(
        [ours[run] - others[run] for run in common], groups=[case_group(run.case, SIDES) for run in common]
    )


def by_seed(ours: Mapping[Run, float], others: Mapping[Run, float]) -> dict[int, float]:
    """The mean difference with each seed: how much of it may be luck in training."""
    common = ours.keys() & others.keys()
    seeds = sorted({run.seed for run in common})
    found = {seed: [ours[run] - others[run] for run in sorted(common) if run.seed == seed] for seed in seeds}
    return {seed: math.fsum(values) / len(values) for seed, values in found.items()}


def scans(ours: Mapping[Run, float], others: Mapping[Run, float]) -> int:
    """Of how many scans there are crops in the runs that both have."""
    return len({case_group(run.case, SIDES) for run in ours.keys() & others.keys()})


def verdict(interval: Interval, seeds: Collection[float], scans: int) -> str:
    """What the figures say, and no more.

    "equivalent": the interval, and the mean difference with every seed, lie within the bounds. "better" or "worse":
    they all lie beyond one of them. "not resolved": neither. With fewer seeds than `FEWEST_SEEDS` there is no verdict,
    since the interval covers cases only, and luck in training would pass for a difference; nor with fewer scans than
    `FEWEST_SCANS`, from which the interval comes out too narrow.

    Args:
        interval: of the mean difference over cases.
        seeds: the mean difference with each seed.
        scans: drawn for the interval.
    """
    if len(seeds) < FEWEST_SEEDS:
        return f"none: fewer than {FEWEST_SEEDS} seeds"
    if scans < FEWEST_SCANS:
        return f"none: fewer than {FEWEST_SCANS} scans"
    low, high = min(interval.low, *seeds), max(interval.high, *seeds)
    if low > -BOUND and high < BOUND:
        return "equivalent"
    if low >= BOUND:
        return "better"
    return "worse" if high <= -BOUND else "not resolved"
