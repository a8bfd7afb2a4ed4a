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

from medkit.batch.identity import hash_uid
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
_LONGEST = 600.0  # seconds without an instance, after which nobody waits for an end: it may never be told


@dataclass
class _Open:
    """An association that may bring more.

    Args:
        silence_ends: nothing of a study for its quiet time says that all of it was sent.
        studies: those of which it brought something, and since when nothing more of each.
        last: the one of which something came last.
    """

    silence_ends: bool
    studies: dict[str, float] = field(default_factory=dict)
    last: str = ""


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
        self._broken: dict[tuple[str, Mark], float] = {}  # when an association of a caller broke off last

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
        with self._lock:
            association = self._open.pop(sender, None)
            for study in () if association is None else association.studies:
                mark = _mark(sender)
                if end not in ends:
                    self._break_off(study, mark, sender, end)
                elif self._broken.get((study, mark), float("-inf")) < sender.opened:
                    self._take_back(study, mark)

    def is_at_rest(self, study: str) -> bool:
        """Whether nothing more of a study is to be awaited, of which nothing came for its quiet time.

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
            if any(one.last == study and not one.silence_ends for one in bringing.values()):
                return False
            for sender, one in bringing.items():
                del one.studies[study]
                if (study, _mark(sender)) not in self._broken:
                    self._intake.spool.found(study, _mark(sender))
            for broken in [one for one in self._broken if one[0] == study]:
                del self._broken[broken]
            return True

    def _take_back(self, study: str, mark: Mark) -> None:
        if not any(study in one.studies and _mark(sender) == mark for sender, one in self._open.items()):
            self._broken.pop((study, mark), None)
            self._intake.end(study, mark)

    def _break_off(self, study: str, mark: Mark, sender: Sender, end: End) -> None:
        intake = self._intake
        known = intake.ledger.find(study) and intake.ledger.study(study).digest
        if known == intake.spool.digest(study, without=[mark]):
            self._take_back(study, mark)  # it brought nothing new of what was all there
            return
        self._broken[study, mark] = self._clock()
        fields = {"ae_title": sender.ae_title, "address": sender.address}
        intake.audit.append("sender-broke-off", study=study, code=NOT_RELEASED, **fields)
        _LOG.warning(
            "a sender broke off: the study is not whole until it is sent again, whole",
            extra=told(study=study, code=NOT_RELEASED, end=end, **fields),
        )


def _mark(sender: Sender) -> Mark:
    return Mark(hashlib.sha256(sender.ae_title.encode()).hexdigest(), NOT_RELEASED, _OWNER)
