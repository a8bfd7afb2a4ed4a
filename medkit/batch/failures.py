"""Go on with the others where one of many fails, and still fail in the end."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Failures"]


class Failures:
    """What the disk refused for some of many things."""

    def __init__(self) -> None:
        self._first: OSError | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep an :class:`OSError` of the block for the end; all else is raised at once."""
        try:
            yield
        except OSError as error:
            self._first = self._first or error

    def raise_first(self) -> None:
        """Raise the first that was kept, if there is one."""
        if self._first is not None:
            raise self._first
