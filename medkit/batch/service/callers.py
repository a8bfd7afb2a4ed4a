"""Callers whom a node does not let in, told as long as they go on: a wrong title keeps all studies of a scanner out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from medkit.batch.notices import Kind
from medkit.dicom.findings import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from medkit.batch.notices import Notices
    from medkit.dicom.network.node import Rejection

__all__ = ["RejectedCallers"]

_TOLD_SECONDS = 3600.0  # after the last of them
_LOOK_SECONDS = 5.0  # between two notices: callers may come many times a second
_LONGEST = 16  # of an AE title (PS3.5, 6.2)


@dataclass
class _Seen:
    """Those that were rejected for one reason."""

    task: str
    code: str
    why: str
    count: int = 0
    last: str = ""
    at: float = 0.0


class RejectedCallers:
    """Those of one node, by what is to be mended; may be used by several threads.

    Args:
        name: of the node, in notices.
        ae_title: of the node.
        notices: where they are told.
        clock: seconds that nobody sets.
    """

    def __init__(
        self, name: str, ae_title: str, notices: Notices, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._notices, self._clock, self._lock = name, notices, clock, Lock()
        self._unknown = _Seen(
            "callers",
            "caller-rejected",
            "which is none of this node's callers: name it in callers and start the service anew if it may send, "
            "or mend its own title there",
        )
        self._misnamed = _Seen(
            "title",
            "called-title-rejected",
            f"and this node is '{ae_title}': have the sender call '{ae_title}', or change ae_title of the node and "
            "start the service anew",
        )

    def add(self, rejection: Rejection) -> None:
        """One was rejected."""
        last = f"'{_shown(rejection.ae_title)}' from {rejection.address}"
        with self._lock:
            if rejection.unknown:
                self._see(self._unknown, last)
            if rejection.misnamed:
                self._see(self._misnamed, f"{last}, which called '{_shown(rejection.called)}'")

    def _see(self, seen: _Seen, last: str) -> None:
        seen.count, seen.last, seen.at = seen.count + 1, last, self._clock()

    def once(self) -> float:
        """Tell of them, or no more; seconds until the next time."""
        for seen in (self._unknown, self._misnamed):
            with self._lock:
                if self._clock() - seen.at > _TOLD_SECONDS:
                    seen.count = 0
                count, last = seen.count, seen.last
            if count:
                were = counted(count, "association was", "associations were")
                message = f"{were} rejected, the last of {last}, {seen.why}"
                self._notices.put(Kind.SOURCE, self._name, seen.code, message, task=seen.task)
            else:
                self._notices.clear(Kind.SOURCE, self._name, seen.task)
        return _LOOK_SECONDS


def _shown(title: str) -> str:
    """A title that may be anything, for screens and logs."""
    return "".join(one if one.isascii() and one.isprintable() else "?" for one in title[:_LONGEST])
