"""What is done again and again beside the workers: looking at sources, and seeing to things now and then."""

from __future__ import annotations

import logging
from threading import Event, Thread
from typing import TYPE_CHECKING

from medkit.batch.service.logs import told

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Chore"]

_LOG = logging.getLogger(__name__)
_PAUSE_SECONDS = 10.0


class Chore:
    """Do something again and again, in a thread of its own, so that one that waits for a network keeps none waiting.

    Args:
        name: of the thread, and in logs.
        work: does it once, and says in how many seconds again. What it raises is logged, and it is tried again.
    """

    def __init__(self, name: str, work: Callable[[], float]) -> None:
        self.name = name
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
            except Exception:
                _LOG.error("a chore failed; it is tried again", exc_info=True, extra=told(chore=self.name))
                pause = _PAUSE_SECONDS
            self._stop.wait(pause)
