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
        strides: one number for all axes, or one for each.
        spatial_dims: axes of space.

    >>> of_each_axis([2, (1, 2)], 2)
    [(2, 2), (1, 2)]
    """
    return [(stride,) * spatial_dims if isinstance(stride, int) else tuple(stride) for stride in strides]


def between_stages(
    filters: Sequence[int], strides: Sequence[int | Sequence[int]], spatial_dims: int
) -> list[tuple[int, ...]]:
    """:func:`of_each_axis` of the strides from each stage to the next.

    Args:
        filters: channels of each stage.
        strides: one number for all axes, or one for each.
        spatial_dims: axes of space.

    Raises:
        ValueError: not one stride fewer than filters.
    """
    if len(filters) != len(strides) + 1:
        raise ValueError(
            f"expected a stride between every two stages, got {len(filters)} filters and {len(strides)} strides"
        )
    return of_each_axis(strides, spatial_dims)


def total(steps: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """How many voxels along each axis become one in the end.

    >>> total([(2, 2), (1, 2)])
    (2, 4)
    """
    return tuple(math.prod(axis) for axis in zip(*steps, strict=True))
