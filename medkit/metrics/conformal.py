"""Bounds that a value of the next group lies within, as often as they say, whatever its distribution."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

__all__ = ["Bounds", "conformal_bounds", "fewest_groups", "mean_over_groups"]


class Bounds(NamedTuple):
    """What lies between them, both included."""

    low: float
    high: float


def fewest_groups(level: float) -> int:
    """Number of groups below which no finite bounds hold at a level: 19 for 0.9.

    Raises:
        ValueError: the level is not between 0 and 1.

    >>> fewest_groups(0.9), fewest_groups(0.8)
    (19, 9)
    """
    share = _share_of_a_tail(level)
    return ceil(share / (1 - share))


def conformal_bounds(values: Sequence[float], groups: Sequence[Hashable], level: float) -> Bounds | None:
    """Split-conformal bounds from values that come in groups, such as the two sides of one scan.

    Groups are taken to be exchangeable; what is in one of them may hang together in any way. A value drawn from a
    new group then lies within the bounds with a probability of ``level`` at least, and beyond either with
    ``(1 - level) / 2`` at most. That is on average over groups: it is promised for no kind of them.

    Each of K groups has the weight 1 / (K + 1), shared out among its values; the rest is that of the new group,
    which may lie anywhere. A bound is the first value that has enough weight up to it: hierarchical conformal
    prediction (Lee, Barber and Willett 2023, https://arxiv.org/abs/2306.06342). With one value a group it is the
    value of rank ``ceil((K + 1) (1 + level) / 2)``. The two sides are bounded apart, as in the asymmetric form of
    Romano, Patterson and Candes 2019 (https://arxiv.org/abs/1905.03222, theorem 2).

    Args:
        values: ``(N,)``, not NaN.
        groups: ``(N,)`` group of each.
        level: between 0 and 1.

    Returns:
        ``None`` from fewer than :func:`fewest_groups`.

    Raises:
        ValueError: not as many groups as values, or a level that is none.

    >>> conformal_bounds(list(range(1, 20)), list(range(19)), 0.9)
    Bounds(low=1, high=19)
    """
    if len(values) != len(groups):
        raise ValueError(f"expected a group for each of {len(values)} values, got {len(groups)} groups")
    if len(set(groups)) < fewest_groups(level):
        return None
    share, weights = _share_of_a_tail(level), _weights(groups)
    ascending = sorted(zip(values, weights, strict=True))
    return Bounds(_bound(ascending[::-1], share), _bound(ascending, share))


def mean_over_groups(values: Sequence[float], groups: Sequence[Hashable]) -> float:
    """Mean of the means of groups; NaN without any.

    >>> mean_over_groups([1, 1, 0], ["a", "a", "b"])
    0.5
    """
    if not values:
        return float("nan")
    total = sum(value * weight for value, weight in zip(values, _weights(groups), strict=True))
    return float(total / len(set(groups)))


def _share_of_a_tail(level: float) -> Fraction:
    # Exact: 0.95 times 20 must be 19 and no more, or the next value would be taken.
    exact = Fraction(str(level))
    if not 0 < exact < 1:
        raise ValueError(f"expected a level between 0 and 1, got {level}")
    return (1 + exact) / 2


def _weights(groups: Sequence[Hashable]) -> list[Fraction]:
    """Of each value, such that every group weighs 1."""
    sizes = Counter(groups)
    return [Fraction(1, sizes[group]) for group in groups]


def _bound(weighted: Sequence[tuple[float, Fraction]], share: Fraction) -> float:
    """The first value, in the given order, that has ``share`` of all groups and a new one up to it."""
    needed = share * (1 + sum(weight for _, weight in weighted))
    for value, weight in weighted:
        needed -= weight
        if needed <= 0:
            return value
    raise AssertionError("fewer groups than fewest_groups")
