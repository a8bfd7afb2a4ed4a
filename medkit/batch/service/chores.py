"""What is done again and again beside the workers: looking at sources, and seeing to things now and then."""

from __future__ import annotations

import logging
from threading import Event, Thread
from typing import TYPE_CHECKING

from medkit.batch.logs import told
from medkit.batch.notices import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from medkit.batch.notices import Notices

__all__ = ["Chore"]

_LOG = logging.getLogger(__name__)
_PAUSE_SECONDS = 10.0


class Chore:
    """Do something again and again, in a thread of its own, so that one that waits for a network keeps none waiting.

    Args:
        name: of the thread, and in logs.
        work: does it once, and says in how many seconds again. What it raises is logged, and it is tried again.
        notices: where it is told as long as it fails.
    """

    def __init__(self, name: str, work: Callable[[], float], notices: Notices) -> None:
        self.name = name
        self._notices = notices
        self._work = work
        self._stop = Event()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Do it no more; what is being done goes on until :meth:`join`."""
        self._stop.set()

    def join(self, seconds: float) -> bool:
        """Wait for its end for so long; whether it came."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                pause = self._work()
                self._notices.clear(Kind.CHORE, self.name)
            except Exception as error:
                _LOG.error("a chore failed; it is tried again", exc_info=True, extra=told(chore=self.name))
                pause = _PAUSE_SECONDS
                message = f"it failed ({type(error).__name__}) and is tried again; see the log"
                self._notices.put(Kind.CHORE, self.name, "chore-failed", message, passing=True)
            self._stop.wait(pause)
