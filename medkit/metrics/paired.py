"""How sure a mean difference between two methods on the same cases is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.stats import bootstrap

from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["CONFIDENCE", "RESAMPLES", "Interval", "paired_interval"]

CONFIDENCE, RESAMPLES = 0.95, 10000
_BATCH = 500  # resamples held in memory at once


class Interval(NamedTuple):
    """A mean with its lower and upper bound."""

    mean: float
    low: float
    high: float


def paired_interval(
    differences: ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean of paired differences with a bootstrap confidence interval of coverage ``CONFIDENCE``.

    Whole groups are drawn, so that cases which are not independent (two sides of one scan, two scans of one
    person) do not make the interval too narrow. The interval is bias-corrected and accelerated (Efron 1987,
    https://doi.org/10.1080/01621459.1987.10478410) from :func:`scipy.stats.bootstrap`.

    Args:
        differences: ``(N,)``, first method minus second, finite.
        groups: ``(N,)`` group of each difference; each is its own group when left out.
        resamples: number of bootstrap samples.
        seed: seed of the resampling; the same input gives the same interval.

    Returns:
        Mean, lower and upper bound in the unit of ``differences``. The bounds are NaN with fewer than two
        groups, and all three are NaN without differences.

    Raises:
        UsageError: a difference is not finite, or there are not as many groups as differences.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not np.isfinite(values).all():
        raise UsageError(
            "expected finite differences, got NaN or infinity; leave those cases out and report their number"
        )
    if groups is not None and len(groups) != len(values):
        raise UsageError(f"expected a group for each of {len(values)} differences, got {len(groups)} groups")
    if not len(values):
        return Interval(np.nan, np.nan, np.nan)
    sums, counts = _group_totals(values, groups)
    mean = float(values.mean())
    if len(sums) < 2:
        return Interval(mean, np.nan, np.nan)
    if np.ptp(sums / counts) == 0:  # every resample has this mean, for which no acceleration exists
        return Interval(mean, mean, mean)
    result = bootstrap(
        (sums, counts),
        _ratio,
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        batch=_BATCH,
        confidence_level=CONFIDENCE,
        random_state=np.random.default_rng(seed),
    )
    bounds = result.confidence_interval
    return Interval(mean, float(bounds.low), float(bounds.high))


def _group_totals(
    values: NDArray[np.float64], groups: Sequence[Hashable] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and number of the differences in each group."""
    if groups is None:
        return values, np.ones_like(values)
    order = {group: position for position, group in enumerate(dict.fromkeys(groups))}
    index = [order[group] for group in groups]
    sums: NDArray[np.float64] = np.bincount(index, weights=values).astype(np.float64)
    return sums, np.bincount(index).astype(np.float64)


def _ratio(sums: NDArray[Any], counts: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    mean: NDArray[Any] = sums.sum(axis=axis) / counts.sum(axis=axis)
    return mean
