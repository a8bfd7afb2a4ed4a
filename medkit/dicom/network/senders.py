"""Who sends over an association, and how that ended: by a release, which says that all was sent, or otherwise."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from pynetdicom.pdu import A_ABORT_RQ, A_RELEASE_RQ

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynetdicom.association import Association
    from pynetdicom.events import Event

__all__ = ["End", "Sender", "Senders"]

_LOG = logging.getLogger(__name__)


class End(StrEnum):
    """What ended an association."""

    RELEASE = "release"
    ABORT = "abort"
    """The sender's own (A-ABORT)."""
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

    Args:
        tell: called with the sender and the end, once; and again where an instance was still being taken.
    """

    def __init__(self, tell: Callable[[Sender, End], None]) -> None:
        self._tell = tell
        self._senders: WeakKeyDictionary[Association, Sender] = WeakKeyDictionary()
        self._ends: WeakKeyDictionary[Association, End] = WeakKeyDictionary()

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
            self._end(event.assoc, End.ABORT)

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

    def taken(self, association: Association) -> None:
        """An instance was taken, maybe after the end of its association, which is told once more then."""
        if (end := self._ends.get(association)) is not None:
            self._say(association, end)

    def _end(self, association: Association, end: End) -> None:
        if self._ends.setdefault(association, end) is end and association in self._senders:
            self._say(association, end)

    def _say(self, association: Association, end: End) -> None:
        try:
            self._tell(self._senders[association], end)
        except Exception as error:
            _LOG.error("the end of an association was not noted: %s", type(error).__name__)
