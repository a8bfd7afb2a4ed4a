"""Numbers drawn from a generator on the CPU, one draw a number whatever comes of it; and the ranges they come from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from medkit.errors import UsageError

if TYPE_CHECKING:
    from torch import Generator

__all__ = [
    "Range",
    "chance",
    "choice",
    "integer",
    "normal",
    "probability",
    "seed",
    "uniform",
    "whole_within",
    "within",
]

Range = Sequence[float]
_SEEDS = 2**53  # all of them survive JSON readers that know no integers


def uniform(rng: Generator, bounds: Range) -> float:
    """A number between two."""
    low, high = bounds
    return low + (high - low) * float(torch.rand((), generator=rng, dtype=torch.float64))


def normal(rng: Generator, std: float) -> float:
    """A number about 0."""
    return std * float(torch.randn((), generator=rng, dtype=torch.float64))


def chance(rng: Generator, likelihood: float) -> bool:
    """True so often, 0 to 1."""
    return float(torch.rand((), generator=rng, dtype=torch.float64)) < likelihood


def integer(rng: Generator, bounds: tuple[int, int]) -> int:
    """A whole number from the first of two to the second, both included."""
    low, high = bounds
    return int(torch.randint(low, high + 1, (), generator=rng))


def choice(rng: Generator, number: int) -> int:
    """One of so many, from 0."""
    return integer(rng, (0, number - 1))


def seed(rng: Generator) -> int:
    """What another generator is seeded with."""
    return int(torch.randint(_SEEDS, (), generator=rng))


def within(name: str, bounds: Range, low: float = -math.inf, high: float = math.inf) -> tuple[float, float]:
    """Two numbers in order, checked.

    Args:
        name: of the argument, for the message.
        bounds: the numbers.
        low: what the first may be at least.
        high: what the second may be at most.

    Raises:
        UsageError: they are not two numbers, not in order or beyond what they may be.
    """
    try:
        first, second = (float(value) for value in bounds)
    except (TypeError, ValueError):
        first, second = math.inf, -math.inf
    if not (low <= first <= second <= high and math.isfinite(second - first)):
        limits = f" between {low:g} and {high:g}" if math.isfinite(low + high) else f" of at least {low:g}"
        raise UsageError(
            f"{name}: expected two numbers in order{limits if low > -math.inf else ''}, got {bounds!r}; correct it"
        )
    return first, second


def whole_within(name: str, bounds: Range, low: int) -> tuple[int, int]:
    """Two whole numbers in order, checked.

    Args:
        name: of the argument, for the message.
        bounds: the numbers.
        low: what the first may be at least.

    Raises:
        UsageError: they are not two whole numbers, not in order or too low.
    """
    first, second = within(name, bounds, low)
    if not (first.is_integer() and second.is_integer()):
        raise UsageError(f"{name}: expected two whole numbers, got {bounds!r}; correct it")
    return int(first), int(second)


def probability(name: str, value: float) -> float:
    """A number from 0 to 1, checked.

    Raises:
        UsageError: it is not.
    """
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise UsageError(f"{name}: expected a probability from 0 to 1, got {value!r}; correct it")
    return float(value)
