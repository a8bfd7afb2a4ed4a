"""What the manual volume is where the network says so much: intervals from held-out cases, and how often they hold.

An interval is one of the ratio of manual to predicted volume, times the predicted volume. A pair of ratios serves small
and large structures, and no volume falls below 0. Either end is set by itself: networks have a bias, and an interval
with the predicted volume in its middle would be wider for the same coverage.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from medkit.data.case_groups import case_group
from medkit.errors import UsageError
from medkit.metrics.conformal import Bounds, conformal_bounds, fewest_groups, mean_over_groups

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["LEVEL", "volume_intervals"]

LEVEL = 0.9


class _Measured(NamedTuple):
    """A structure in a held-out case; volumes in millilitres."""

    fold: int
    group: str
    predicted: float
    manual: float

    @property
    def ratio(self) -> float:
        return self.manual / self.predicted


def volume_intervals(
    rows: Sequence[Mapping[str, Any]], *, cases_per_group: int = 1, sum_of_all: str | None = None
) -> dict[str, Any] | None:
    """Intervals of the manual volume by structure, and their coverage in folds that they were not set by.

    The coverage is cross-fitted: the cases of a fold are judged by intervals from the other folds, whose networks
    were trained on that fold. What is given out is from all folds, and for the network of all cases, whose errors are
    taken to be like those of the fold networks. That promises less than split conformal prediction with one network
    does (Barber et al. 2021, https://arxiv.org/abs/1905.02928, on the jackknife): hence the coverage is measured. It
    may differ from network to network, for which the folds are there one by one.

    Cases in which a structure is not found (predicted volume 0) are left out: for these there is no interval.

    Args:
        rows: ``fold``, ``case``, ``name``, ``volume_ml`` (predicted) and ``truth_volume_ml`` of every structure in every
            held-out case; ``None`` is a volume that is not known.
        cases_per_group: see :func:`medkit.data.case_groups.case_group`.
        sum_of_all: name of the sum of all structures, where that has an interval too.

    Returns:
        Of each structure the number of ``groups`` and of cases where it was ``not_found``; ``low`` and ``high``, as
        multiples of the predicted volume; and of the intervals that cases of other folds set, ``width_ml`` (mean over
        groups), ``coverage`` (likewise, and by fold) and ``verified_ml``, the smallest and the largest predicted volume
        that it was counted for. These five are ``None`` where they would take more groups.
        ``sums`` tells what a sum is made of. ``None`` for all where a volume is not known.

    Raises:
        UsageError: cases of one group are in several folds, a case lacks a structure that others have, or a structure
            has the name of the sum.
    """
    if any(row[key] is None for row in rows for key in ("volume_ml", "truth_volume_ml")):
        return None
    structures = _by_structure(rows, cases_per_group)
    if sum_of_all in structures:
        raise UsageError(
            f"expected a name for the sum of all structures that none of them has, got '{sum_of_all}'; change "
            "'sum_of_all' in metadata.yaml"
        )
    sums = {} if sum_of_all is None else {sum_of_all: list(structures)}
    if sum_of_all is not None:
        structures[sum_of_all] = [_sum(parts) for parts in zip(*structures.values(), strict=True)]
    return {
        "level": LEVEL,
        "cases_per_group": cases_per_group,
        "fewest_groups": fewest_groups(LEVEL),
        "sums": sums,
        "structures": {name: _verified(cases) for name, cases in structures.items()},
    }


def _by_structure(rows: Iterable[Mapping[str, Any]], cases_per_group: int) -> dict[str, list[_Measured]]:
    """Cases of each structure, in the same order."""
    structures: defaultdict[str, dict[str, _Measured]] = defaultdict(dict)
    folds = dict[str, int]()
    for row in sorted(rows, key=lambda row: str(row["case"])):
        fold, group = row["fold"], case_group(row["case"], cases_per_group)
        if folds.setdefault(group, fold) != fold:
            raise UsageError(
                f"expected all cases of a group in one fold, got those of {group} in folds {folds[group]} and {fold}; "
                "mend 'cases_per_group' in metadata.yaml, or mend the folds and train again"
            )
        measured = _Measured(fold, group, row["volume_ml"], row["truth_volume_ml"])
        structures[row["name"]][str(row["case"])] = measured
    every = {case for cases in structures.values() for case in cases}
    for name, cases in structures.items():
        if lacking := sorted(every - cases.keys()):
            raise UsageError(
                f"expected a volume of every structure in every held-out case, got none of {name} in {lacking[0]}; "
                "score the run again"
            )
    return {name: list(cases.values()) for name, cases in structures.items()}


def _sum(parts: Sequence[_Measured]) -> _Measured:
    predicted, manual = (math.fsum(volumes) for volumes in zip(*(part[2:] for part in parts), strict=True))
    return parts[0]._replace(predicted=predicted, manual=manual)


def _verified(cases: Sequence[_Measured]) -> dict[str, Any]:
    """The interval of one structure, unless that of the other folds is wanting for some fold."""
    found, folds = [case for case in cases if case.predicted > 0], sorted({case.fold for case in cases})
    numbers = {"groups": len({case.group for case in found}), "not_found": len(cases) - len(found)}
    others = [_bounds([case for case in found if case.fold != fold]) for fold in folds]
    by_others = {fold: bounds for fold, bounds in zip(folds, others, strict=True) if bounds}
    if (bounds := _bounds(found)) is None or len(by_others) < len(folds):
        return {**numbers, **dict.fromkeys(("low", "high", "width_ml", "coverage", "verified_ml"))}
    return {
        **numbers,
        "low": round(bounds.low, 6),
        "high": round(bounds.high, 6),
        "width_ml": _mean([(case, _width_ml(case, by_others[case.fold])) for case in found]),
        "coverage": {
            "mean": _mean([(case, _covered(case, by_others[case.fold])) for case in found]),
            "folds": [
                _mean([(case, _covered(case, by_others[fold])) for case in found if case.fold == fold])
                for fold in folds
            ],
        },
        "verified_ml": [round(end(case.predicted for case in found), 4) for end in (min, max)],
    }


def _bounds(cases: Sequence[_Measured]) -> Bounds | None:
    return conformal_bounds([case.ratio for case in cases], [case.group for case in cases], LEVEL)


def _covered(case: _Measured, bounds: Bounds) -> bool:
    return bounds.low <= case.ratio <= bounds.high


def _width_ml(case: _Measured, bounds: Bounds) -> float:
    return (bounds.high - bounds.low) * case.predicted


def _mean(values: Sequence[tuple[_Measured, float]]) -> float | None:
    """Over groups; ``None`` without any."""
    mean = mean_over_groups([value for _, value in values], [case.group for case, _ in values])
    return None if math.isnan(mean) else round(mean, 4)
