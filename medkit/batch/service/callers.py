"""Callers whom a node does not let in, told as long as they go on: a wrong title keeps all studies of a scanner out."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING

from medkit.batch.notices import Kind
from medkit.dicom.findings import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from medkit.batch.notices import Notices

__all__ = ["RejectedCallers"]

_TOLD_SECONDS = 3600.0  # after the last of them
_LOOK_SECONDS = 5.0  # between two notices: callers may come many times a second
_TASK = "callers"
_LONGEST = 16  # of an AE title (PS3.5, 6.2)


class RejectedCallers:
    """Those of one node; may be used by several threads.

    Args:
        name: of the node, in notices.
        notices: where they are told.
        clock: seconds that nobody sets.
    """

    def __init__(self, name: str, notices: Notices, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._notices, self._clock, self._lock = name, notices, clock, Lock()
        self._count, self._last, self._since = 0, "", 0.0

    def add(self, ae_title: str, called: str, address: str) -> None:
        """One was rejected.

        Args:
            ae_title: of the caller, as it says.
            called: the title that it calls.
            address: of the caller.
        """
        with self._lock:
            self._count += 1
            self._since = self._clock()
            self._last = f"'{_shown(ae_title)}' from {address}, which called '{_shown(called)}'"

    def once(self) -> float:
        """Tell of them, or no more; seconds until the next time."""
        with self._lock:
            if self._clock() - self._since > _TOLD_SECONDS:
                self._count = 0
            count, last = self._count, self._last
        if count:
            message = (
                f"{counted(count, 'association was', 'associations were')} rejected, the last of {last}: name it in "
                "callers if it may send, or mend its settings"
            )
            self._notices.put(Kind.SOURCE, self._name, "caller-rejected", message, task=_TASK)
        else:
            self._notices.clear(Kind.SOURCE, self._name, _TASK)
        return _LOOK_SECONDS


def _shown(title: str) -> str:
    """A title that may be anything, for screens and logs."""
    return "".join(one if one.isascii() and one.isprintable() else "?" for one in title[:_LONGEST])
