"""What keeps pynetdicom's thread of an association from taking answers that somebody else waits for."""

from __future__ import annotations

from threading import Condition, Event, current_thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pynetdicom.association import Association

__all__ = ["Checkpoint"]

_LOOK_SECONDS = 0.05


class Checkpoint(Event):
    """In the place of the event at which an association's thread waits while one of its ``send_*`` methods is at work.

    pynetdicom (3.0.4, ``Association._run_reactor``) takes that thread for waiting by a flag that still stands a moment
    after it was let go. A request that follows at once then has its first answer taken by the thread, which throws it
    away: a C-STORE waits for its answer until it gives up, a C-FIND has one match less. Here the thread either waits
    when :meth:`clear` returns, or has come by before.

    Args:
        association: whose thread it is; not started yet.
    """

    def __init__(self, association: Association) -> None:
        super().__init__()
        self._association = association
        self._changed = Condition()
        self._open, self._waiting = True, False

    def is_set(self) -> bool:
        """Whether the thread may go on."""
        return self._open

    def set(self) -> None:
        """Let the thread go on."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Let the thread go no further than here, and wait until it is here, unless it has ended or is who calls."""
        with self._changed:
            self._open = False
            if current_thread() is self._association:
                return
            while not (self._open or self._waiting) and self._association.is_alive():
                self._changed.wait(_LOOK_SECONDS)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the thread may go on, or so many seconds; whether it may."""
        with self._changed:
            self._waiting = True
            self._changed.notify_all()
            went = self._changed.wait_for(lambda: self._open, timeout)
            self._waiting = False
            return went
