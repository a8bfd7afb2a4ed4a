"""One score over many cases, in a few numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Statistic", "summarise"]


@dataclass(frozen=True)
class Statistic:
    """A score over cases; NaN where too few have one.

    Args:
        n: cases in which the score is defined, infinite ones included.
        n_infinite: cases in which it is infinite.
        mean: over the finite values.
        sd: sample standard deviation (n - 1) of the finite values.
        median: over all defined values, infinite ones included.
        worst: the worst defined value.
        worst_case: the case that has it; ``None`` where the score is defined in none.
    """

    n: int
    n_infinite: int
    mean: float
    sd: float
    median: float
    worst: float
    worst_case: str | None


def summarise(values: Mapping[str, float], *, higher_is_better: bool) -> Statistic:
    """Summarise a score over cases.

    Args:
        values: case to score; NaN where it is undefined.
        higher_is_better: which end is the worst.
    """
    defined = {case: value for case, value in values.items() if not math.isnan(value)}
    if not defined:
        return Statistic(0, 0, math.nan, math.nan, math.nan, math.nan, None)
    scores = np.array(list(defined.values()))
    finite = scores[np.isfinite(scores)]
    pick = min if higher_is_better else max
    worst_case = pick(defined, key=lambda case: defined[case])
    return Statistic(
        n=len(scores),
        n_infinite=len(scores) - len(finite),
        mean=float(finite.mean()) if len(finite) else math.nan,
        sd=float(finite.std(ddof=1)) if len(finite) > 1 else math.nan,
        median=float(np.median(scores)),
        worst=defined[worst_case],
        worst_case=worst_case,
    )
