"""How stages of a network make an image smaller."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["between_stages", "of_each_axis", "total"]


def of_each_axis(strides: Sequence[int | Sequence[int]], spatial_dims: int) -> list[tuple[int, ...]]:
    """Strides with a number for each axis of space.

    Args:
        strides: one number for all axes, or one for each, 1 or more.
        spatial_dims: axes of space.

    Raises:
        ValueError: a stride below 1, or for another number of axes.

    >>> of_each_axis([2, (1, 2)], 2)
    [(2, 2), (1, 2)]
    """
    steps = [(stride,) * spatial_dims if isinstance(stride, int) else tuple(stride) for stride in strides]
    for step in steps:
        if len(step) != spatial_dims or min(step) < 1:
            raise ValueError(f"expected strides of 1 or more for each of {spatial_dims} axes, got {step}")
    return steps


def between_stages(
    filters: Sequence[int], strides: Sequence[int | Sequence[int]], spatial_dims: int
) -> list[tuple[int, ...]]:
    """:func:`of_each_axis` of the strides from each stage to the next, of two stages or more.

    Args:
        filters: channels of each stage, 1 or more.
        strides: one number for all axes, or one for each.
        spatial_dims: axes of space.

    Raises:
        ValueError: not one stride fewer than filters, fewer than two stages, or a stage without channels.
    """
    if len(filters) < 2 or min(filters) < 1:
        raise ValueError(f"expected two stages or more, of 1 channel or more each, got {tuple(filters)}")
    if len(filters) != len(strides) + 1:
        raise ValueError(
            f"expected a stride between every two stages, got {len(filters)} stages and {len(strides)} strides"
        )
    return of_each_axis(strides, spatial_dims)


def total(steps: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """How many voxels along each axis become one in the end.

    >>> total([(2, 2), (1, 2)])
    (2, 4)
    """
    return tuple(math.prod(axis) for axis in zip(*steps, strict=True))
