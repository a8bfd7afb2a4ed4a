"""Who sends over an association, and how that ended: by a release, which says that all was sent, or otherwise."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from pynetdicom.pdu import A_ABORT_RQ, A_RELEASE_RQ

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pynetdicom.association import Association
    from pynetdicom.events import Event

__all__ = ["End", "Sender", "Senders"]

_LOG = logging.getLogger(__name__)
_SERVICE_USER = 0  # source of an A-ABORT (PS3.8 section 9.3.8)


class End(StrEnum):
    """What ended an association."""

    RELEASE = "release"
    ABORT = "abort"
    """The sender's own (A-ABORT), and not that of its network layer after a fault (A-P-ABORT)."""
    SILENCE = "silence"
    """Nothing came for the time for which a caller may be silent, and nothing was on its way."""
    LOSS = "loss"
    """Anything else: the connection was lost, or this side ended it."""


@dataclass(frozen=True, eq=False)
class Sender:
    """The caller of one association; two of them are never equal.

    Args:
        ae_title: of the caller.
        address: of the caller.
        opened: when the association began, in seconds of :func:`time.monotonic`.
    """

    ae_title: str
    address: str
    opened: float


class Senders:
    """Tells how associations end, those that brought nothing too; may be used by several threads.

    No end is told while an instance of its association is being taken, so that who is told knows all that came.

    Args:
        tell: called with the sender and the end, once; and again after each instance that was taken after the end.
    """

    def __init__(self, tell: Callable[[Sender, End], None]) -> None:
        self._tell = tell
        self._lock = Lock()  # held while an end is told: nothing of its association is begun meanwhile
        self._senders: WeakKeyDictionary[Association, Sender] = WeakKeyDictionary()
        self._ends: WeakKeyDictionary[Association, End] = WeakKeyDictionary()
        self._taking: set[Association] = set()

    def opened(self, event: Event) -> None:
        """An association was accepted."""
        peer = event.assoc.requestor
        self._senders[event.assoc] = Sender(peer.ae_title, peer.address or "", time.monotonic())

    def of(self, association: Association) -> Sender:
        """The sender of an association that was accepted."""
        return self._senders[association]

    def received(self, event: Event) -> None:
        """Look at a PDU that came: a release is told before it is answered."""
        if isinstance(event.pdu, A_RELEASE_RQ):
            self._end(event.assoc, End.RELEASE)
        elif isinstance(event.pdu, A_ABORT_RQ):
            self._end(event.assoc, End.ABORT if event.pdu.source == _SERVICE_USER else End.LOSS)

    def sent(self, event: Event) -> None:
        """Look at a PDU that was sent: by an abort of ours, silence is ended, or anything else."""
        if isinstance(event.pdu, A_ABORT_RQ):
            dimse = event.assoc.dimse
            on_its_way = dimse.message is not None or not dimse.msg_queue.empty()
            silent = event.assoc.dul.idle_timer_expired() and not on_its_way
            self._end(event.assoc, End.SILENCE if silent else End.LOSS)

    def closed(self, event: Event) -> None:
        """The connection is closed, for whatever reason."""
        self._end(event.assoc, End.LOSS)

    @contextmanager
    def taking(self, association: Association) -> Iterator[None]:
        """Take an instance in the block; an association brings one after the other (PS3.7, 7.5.1)."""
        with self._lock:
            self._taking.add(association)
        try:
            yield
        finally:
            with self._lock:
                self._taking.discard(association)
                if (end := self._ends.get(association)) is not None:
                    self._say(association, end)

    def _end(self, association: Association, end: End) -> None:
        with self._lock:
            if association in self._ends:
                return
            self._ends[association] = end
            if association in self._senders and association not in self._taking:
                self._say(association, end)

    def _say(self, association: Association, end: End) -> None:
        try:
            self._tell(self._senders[association], end)
        except Exception as error:
            _LOG.error("the end of an association was not noted: %s", type(error).__name__)
