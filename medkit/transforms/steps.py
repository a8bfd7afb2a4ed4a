"""The steps of composed transforms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monai.transforms import Compose

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["flat_steps"]


def flat_steps(transform: Any) -> Iterator[Any]:
    """The steps of nested Composes, in order."""
    if isinstance(transform, Compose):
        for step in transform.transforms:
            yield from flat_steps(step)
    else:
        yield transform
