"""A destination that is not reached, or lets nobody in, is told of as long as it is so."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from medkit.batch.notices import Kind
from medkit.dicom.network.archive import DOWN, OF_ALL, ArchiveDown, ArchiveRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from medkit.batch.delivery.destinations import Destination, Made
    from medkit.batch.notices import Notices

__all__ = ["NotedDestination"]

# Tasks of a destination: one that can be read may take nothing.
_READING, _SENDING = "", "sending"


class NotedDestination:
    """A destination; what keeps all from it stands among the notices until a call of the same kind goes well.

    Of withdrawals nothing stands there: who withdraws all that is due tells what fails.

    Args:
        destination: which.
        notices: where it is told.
    """

    def __init__(self, destination: Destination, notices: Notices) -> None:
        self._destination, self._notices = destination, notices

    @property
    def name(self) -> str:
        """That of the destination."""
        return self._destination.name

    def send(self, objects: Sequence[Made]) -> Mapping[str, str | None]:
        """See :class:`medkit.batch.delivery.destinations.Destination`."""
        with self._noting(_SENDING):
            return self._destination.send(objects)

    def read_back(self, made: Made) -> str | None:
        """See :class:`medkit.batch.delivery.destinations.Destination`."""
        with self._noting(_READING):
            there = self._destination.read_back(made)
        if there is not None:  # sent when its answer did not come
            self._clear(_SENDING)
        return there

    def withdraw(self, made: Made) -> None:
        """See :class:`medkit.batch.delivery.destinations.Destination`."""
        self._destination.withdraw(made)

    @contextmanager
    def _noting(self, task: str) -> Iterator[None]:
        try:
            yield
        except ArchiveDown as down:
            self._put(task, down)
            raise
        except ArchiveRefused as refused:
            if refused.code in OF_ALL:
                self._put(task, refused)
            else:  # it answers
                self._clear(task)
            raise
        self._clear(task)

    def _put(self, task: str, failure: ArchiveDown | ArchiveRefused) -> None:
        passing = failure.code == DOWN
        self._notices.put(Kind.DESTINATION, self.name, failure.code, str(failure), passing=passing, task=task)

    def _clear(self, task: str) -> None:
        self._notices.clear(Kind.DESTINATION, self.name, task)
