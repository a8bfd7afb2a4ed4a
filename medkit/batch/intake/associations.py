"""Studies whose senders have not said that all was sent: only a release of their association says so (PS3.8, 7.2).

A study is marked as not whole before its first instance of an association is stored, and the mark goes when that is
released. So neither a sender that breaks off between two instances makes a part of it whole, nor a crash of ours. Where
it broke off, a release says so only of one that sent all again: neither one image nor another series is the rest.
"""

from __future__ import annotations

import logging
import math
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
    from collections.abc import Callable, Collection, Iterator

    from medkit.batch.intake.take import Intake
    from medkit.dicom.network.senders import Sender

__all__ = ["Associations"]

_LOG = logging.getLogger(__name__)
# Seconds since anything came of a study, after which what was left of it is looked up anew.
_REMEMBERED = 86400.0
_LONGEST = 600.0  # seconds without an instance, after which nobody waits for an end: it may never be told


@dataclass
class _Brought:
    """What an association brought of a study.

    Args:
        instances: hashes of their UIDs.
        last: since when nothing more came.
        again: hashes of what its caller brought since then by other associations, which began later and are released.
    """

    instances: set[str] = field(default_factory=set)
    last: float = 0.0
    again: set[str] = field(default_factory=set)


@dataclass
class _Left:
    """A study of which a caller broke off.

    Args:
        broken: when it did so last.
        due: hashes of the instances that what broke off had brought; all that were there where nobody knows them any
            more.
        again: of those that the caller brought since, by associations that began after.
        last: when it brought anything last.
    """

    broken: float
    due: set[str]
    last: float
    again: set[str] = field(default_factory=set)

    def goes_on(self, sender: Sender) -> bool:
        """Whether an association began after all that broke off."""
        return self.broken < sender.opened


@dataclass
class _Open:
    """An association that may bring more.

    Args:
        silence_ends: nothing of a study for its quiet time says that all of it was sent.
        studies: those of which it brought something.
        last: the one of which something came last.
        over: it said that all was sent, but marks of these studies could not be taken back then.
    """

    silence_ends: bool
    studies: dict[str, _Brought] = field(default_factory=dict)
    last: str = ""
    over: bool = False

    def may_go_on_with(self, study: str) -> bool:
        """Whether its end has to say that all of a study was sent: it neither went on to another, nor may be silent."""
        return self.last == study and not (self.silence_ends or self.over)


class Associations:
    """Keep studies from being taken for whole as long as their sender may go on; may be used by several threads.

    A mark is that of a caller. It goes with a release of any of its associations that brought something of the study,
    once no other of the kind is open. Where some broke off, those count that began after, and only when they brought
    again all that the broken ones had brought: what comes besides may be another part. Where that is noticed late,
    those count that began after the last instance of the broken one, and brought all of it. A sender that goes on to
    other studies has sent all of the one before, when nothing of that comes for its quiet time.

    Args:
        intake: the door.
        clock: that of :class:`medkit.dicom.network.senders.Sender`.
    """

    def __init__(self, intake: Intake, clock: Callable[[], float] = time.monotonic) -> None:
        self._intake, self._clock, self._lock = intake, clock, Lock()
        self._open: dict[Sender, _Open] = {}
        self._left: dict[tuple[str, Mark], _Left] = {}

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
            study, instance = hash_uid(study_uid), hash_uid(sop_uid)
        except ValueError:
            return
        if self._intake.is_own(study_uid, sop_uid):
            return
        with self._lock:
            association = self._open.setdefault(sender, _Open(End.SILENCE in ends))
            if study not in association.studies:
                self._look_up(study, sender)
            association.last = study
            brought = association.studies.setdefault(study, _Brought())
            brought.instances.add(instance)
            brought.last = self._clock()
            left = self._left.get((study, _mark(sender)))
            if left and left.goes_on(sender):
                left.again.add(instance)
                left.last = brought.last
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
            bringing = {sender: one for sender, one in self._open.items() if study in one.studies}
            awaited = {sender: one for sender, one in bringing.items() if one.may_go_on_with(study)}
            if any(now - one.studies[study].last < _LONGEST for one in awaited.values()):
                return False
            unsaid = {_mark(sender) for sender in awaited}
            for sender, one in bringing.items():
                if sender in awaited:
                    continue
                if _mark(sender) not in unsaid and self._says_all(study, sender):
                    self._intake.spool.found(study, _mark(sender))
                    self._left.pop((study, _mark(sender)), None)
                del one.studies[study]
                if one.over and not one.studies:
                    del self._open[sender]
            return True

    def _look_up(self, study: str, sender: Sender) -> None:
        """See what is left of a caller's from before its association brings the first of a study."""
        mark = _mark(sender)
        if not self._intake.spool.has(study, mark):
            self._left.pop((study, mark), None)  # a person lifted or removed it
        elif (study, mark) not in self._left and not any(self._bring(study, mark)):
            due = self._intake.spool.held(study)
            self._left[study, mark] = _Left(-math.inf, due, last=self._clock())

    def _release(self, study: str, sender: Sender) -> None:
        mark = _mark(sender)
        if beside := [other for other in self._bring(study, mark) if other is not sender]:
            self._note_again(study, sender, beside)
            return
        fields = {"ae_title": sender.ae_title, "address": sender.address}
        if self._says_all(study, sender):
            self._intake.end(study, mark)
            if left := self._left.pop((study, mark), None):
                self._intake.audit.append("sender-came-again", study=study, count=len(left.again), **fields)
                _LOG.info(
                    "a sender that had broken off sent all of it again", extra=told(study=study, **fields)
                )
        elif self._left[study, mark].goes_on(sender):
            _LOG.warning(
                "a sender that had broken off came again with a part of what it had brought: the study is not whole",
                extra=told(study=study, code=NOT_RELEASED, **fields),
            )

    def _note_again(self, study: str, sender: Sender, beside: Collection[Sender]) -> None:
        """Note what came again over an association that was released, for those beside that may be dead already."""
        brought = self._open[sender].studies[study]
        for other in beside:
            before = self._open[other].studies[study]
            if before.last < sender.opened:
                before.again |= brought.instances

    def _break_off(self, study: str, sender: Sender, end: End) -> None:
        intake, brought = self._intake, self._open[sender].studies[study]
        known = intake.ledger.find(study) and intake.ledger.study(study).digest
        nothing_new = known == intake.spool.digest(study, without=[NOT_RELEASED])
        if nothing_new or brought.instances <= brought.again:  # all came again before its loss was noticed
            self._release(study, sender)
            return
        self._leave(study, sender)
        fields = {"ae_title": sender.ae_title, "address": sender.address}
        intake.audit.append("sender-broke-off", study=study, code=NOT_RELEASED, **fields)
        _LOG.warning(
            "a sender broke off: the study is not whole until it sends it again, whole",
            extra=told(study=study, code=NOT_RELEASED, end=end, **fields),
        )

    def _leave(self, study: str, sender: Sender) -> None:
        now, mark = self._clock(), _mark(sender)
        for (which, whose), left in list(self._left.items()):
            if now - left.last > _REMEMBERED and not any(self._bring(which, whose)):
                del self._left[which, whose]
        due = set(self._open[sender].studies[study].instances)
        if before := self._left.get((study, mark)):
            due |= before.due
        self._left[study, mark] = _Left(now, due, last=now)

    def _says_all(self, study: str, sender: Sender) -> bool:
        """Whether an association that ended well says that all of a study was sent."""
        left = self._left.get((study, _mark(sender)))
        return left is None or (left.goes_on(sender) and left.due <= left.again)

    def _bring(self, study: str, mark: Mark) -> Iterator[Sender]:
        """Those of a caller whose associations brought something of a study, and may bring more."""
        return (
            sender for sender, one in self._open.items() if study in one.studies and _mark(sender) == mark
        )


def _mark(sender: Sender) -> Mark:
    return Mark.not_released(sender.ae_title)
