"""Go on with the others where one of many fails, and still fail in the end."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Failures"]


class Failures:
    """What failed for some of many things.

    Args:
        kinds: of errors that are kept; what the disk refuses where none is given.
    """

    def __init__(self, *kinds: type[Exception]) -> None:
        self._kinds = kinds or (OSError,)
        self._first: Exception | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep an error of the block for the end; one of another kind is raised at once."""
        try:
            yield
        except self._kinds as error:
            self._first = self._first or error

    def raise_first(self) -> None:
        """Raise the first that was kept, if there is one."""
        if self._first is not None:
            raise self._first
