"""Studies whose senders have not said that all was sent: only a release of their association says so (PS3.8, 7.2).

A study is marked as not whole before its first instance of an association is stored, and the mark goes when that is
released. So neither a sender that breaks off between two instances makes a part of it whole, nor a crash of ours.
"""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from medkit.batch.audit import AuditError
from medkit.batch.failures import Failures
from medkit.batch.identity import hash_uid
from medkit.batch.ledger import LedgerError
from medkit.batch.logs import told
from medkit.batch.marks import NOT_RELEASED, Mark
from medkit.dicom.network.senders import End

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from medkit.batch.intake.take import Intake
    from medkit.dicom.network.senders import Sender

__all__ = ["Associations"]

_LOG = logging.getLogger(__name__)
_OWNER = "node"
_REMEMBERED = 86400.0  # seconds for which an association may go on that began before another broke off
_LONGEST = 600.0  # seconds without an instance, after which nobody waits for an end: it may never be told


@dataclass
class _Open:
    """An association that may bring more.

    Args:
        silence_ends: nothing of a study for its quiet time says that all of it was sent.
        studies: those of which it brought something, and since when nothing more of each.
        last: the one of which something came last.
        over: it said that all was sent, but marks of these studies could not be taken back then.
    """

    silence_ends: bool
    studies: dict[str, float] = field(default_factory=dict)
    last: str = ""
    over: bool = False


class Associations:
    """Keep studies from being taken for whole as long as their sender may go on; may be used by several threads.

    A mark is that of a caller. It goes with a release of any of its associations that brought something of the study
    and began after all that broke off, once no other of the kind is open. A sender that goes on to other studies
    has sent all of the one before, when nothing of that comes for its quiet time.

    Args:
        intake: the door.
        clock: that of :class:`medkit.dicom.network.senders.Sender`.
    """

    def __init__(self, intake: Intake, clock: Callable[[], float] = time.monotonic) -> None:
        self._intake, self._clock, self._lock = intake, clock, Lock()
        self._open: dict[Sender, _Open] = {}
        self._broken: dict[tuple[str, Mark], float] = {}  # when one of a caller broke off last

    def came(
        self, study_uid: str, sop_uid: str, sender: Sender, ends: Collection[End] = (End.RELEASE,)
    ) -> None:
        """Mark a study, of which an instance is about to be taken.

        What :meth:`medkit.batch.intake.take.Intake.take` will not take for a part of a study marks none.

        Args:
            study_uid: Study Instance UID.
            sop_uid: SOP Instance UID.
            sender: of the association.
            ends: see :meth:`ended`.

        Raises:
            OSError, LedgerError: the mark or the ledger cannot be written.
        """
        try:
            study = hash_uid(study_uid)
        except ValueError:
            return
        if self._intake.is_own(study_uid, sop_uid):
            return
        with self._lock:
            association = self._open.setdefault(sender, _Open(End.SILENCE in ends))
            association.last = study
            association.studies[study] = self._clock()
            self._intake.begin(study, _mark(sender))

    def ended(self, sender: Sender, end: End, ends: Collection[End] = (End.RELEASE,)) -> None:
        """Take the marks of an association back, or let them stay and say so; nothing where it left none.

        Args:
            sender: of the association.
            end: of it.
            ends: those that say that all was sent.

        Raises:
            OSError, AuditError, LedgerError: a mark, the audit log or the ledger cannot be written.
        """
        failures = Failures(OSError, AuditError, LedgerError)
        with self._lock:
            association = self._open.get(sender, _Open(silence_ends=False))
            association.over = end in ends
            for study in list(association.studies):
                with failures.kept():
                    if association.over:
                        self._release(study, sender)
                    else:
                        self._break_off(study, sender, end)
                    del association.studies[study]
            if not (association.over and association.studies):
                self._open.pop(sender, None)
        failures.raise_first()

    def close(self, study: str) -> bool:
        """Take all of a study for sent, of which nothing came for its quiet time.

        Returns:
            Whether it is; or more of it is to be awaited.

        Raises:
            OSError: a mark cannot be removed.
        """
        with self._lock:
            now = self._clock()
            bringing = {
                sender: one
                for sender, one in self._open.items()
                if study in one.studies and now - one.studies[study] < _LONGEST
            }
            if any(one.last == study and not (one.silence_ends or one.over) for one in bringing.values()):
                return False
            for sender, one in bringing.items():
                if self._began_after_breaks(study, sender):
                    self._intake.spool.found(study, _mark(sender))
                del one.studies[study]
                if one.over and not one.studies:
                    del self._open[sender]
            return True

    def _release(self, study: str, sender: Sender) -> None:
        mark = _mark(sender)
        beside = (
            other
            for other, one in self._open.items()
            if other is not sender and study in one.studies and _mark(other) == mark
        )
        if self._began_after_breaks(study, sender) and not any(beside):
            self._broken.pop((study, mark), None)
            self._intake.end(study, mark)

    def _break_off(self, study: str, sender: Sender, end: End) -> None:
        intake = self._intake
        known = intake.ledger.find(study) and intake.ledger.study(study).digest
        if known == intake.spool.digest(study, without=[NOT_RELEASED]):
            self._release(study, sender)  # it brought nothing new of what was all there
            return
        now = self._clock()
        self._broken = {one: since for one, since in self._broken.items() if now - since < _REMEMBERED}
        self._broken[study, _mark(sender)] = now
        fields = {"ae_title": sender.ae_title, "address": sender.address}
        intake.audit.append("sender-broke-off", study=study, code=NOT_RELEASED, **fields)
        _LOG.warning(
            "a sender broke off: the study is not whole until it is sent again, whole",
            extra=told(study=study, code=NOT_RELEASED, end=end, **fields),
        )

    def _began_after_breaks(self, study: str, sender: Sender) -> bool:
        return self._broken.get((study, _mark(sender)), float("-inf")) < sender.opened


def _mark(sender: Sender) -> Mark:
    return Mark(hashlib.sha256(sender.ae_title.encode()).hexdigest(), NOT_RELEASED, _OWNER)
