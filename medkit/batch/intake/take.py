"""The one door: whatever source an instance comes from, it goes through here into the spool and the ledger."""

from __future__ import annotations

import logging
import threading
from functools import lru_cache
from typing import IO, TYPE_CHECKING

from medkit.batch.identity import hash_uid
from medkit.batch.intake.associations import Associations
from medkit.batch.intake.quiet import QuietTimes
from medkit.batch.ledger import LedgerError
from medkit.batch.logs import told
from medkit.batch.marks import LOW_DISK, NOT_RELEASED, WHAT_TO_DO, Mark
from medkit.batch.spool import CANNOT_UNDERSTAND, OUT_OF_RESOURCES, NotTaken, Taken
from medkit.dicom.network.cut_off import CUT_OFF
from medkit.dicom.network.rejection import rejection_uid

if TYPE_CHECKING:
    from medkit.batch.audit import AuditLog
    from medkit.batch.ledger import Ledger
    from medkit.batch.spool import Spool

__all__ = ["SUCCESS", "Intake"]

_LOG = logging.getLogger(__name__)
SUCCESS = 0x0000
_DOOR = "door"  # owner of marks
_CONFLICT = "an instance came with another content than before: the study is not made"
_DIGITS = 12  # of a hash
_OWN_ROOT = "2.25."  # that of every UID which medkit derives


class Intake:
    """Take instances; may be used by several threads.

    Args:
        ledger: is told of each study.
        spool: holds its instances.
        audit: is told of who sends a study, of what was not taken, and of instances that came with another content.
        quiet: since when nothing came of each study.

    Its ``associations`` keeps studies from being taken for whole before their senders have released theirs.
    """

    def __init__(
        self, ledger: Ledger, spool: Spool, audit: AuditLog, quiet: QuietTimes | None = None
    ) -> None:
        self.ledger, self.spool, self.audit, self.quiet = ledger, spool, audit, quiet or QuietTimes()
        self.associations = Associations(self)
        # Codes by study, with who sent, and callers by study, until it is complete.
        self._told: dict[str, set[tuple[str, ...]]] = {}
        self._senders: dict[str, set[tuple[str, str]]] = {}
        # An association has a thread of its own, in which it is noted and taken.
        self._calling = threading.local()

    def take(self, study_uid: str, sop_uid: str, source: IO[bytes]) -> Taken | None:
        """Take an instance: when this returns, it is on disk and the ledger knows of it.

        The ledger is told before, so that a crash loses nothing, and after, so that nobody has meanwhile called the
        study complete without it.

        Args:
            study_uid: Study Instance UID.
            sop_uid: SOP Instance UID.
            source: the file's bytes (PS3.10).

        Returns:
            What it was to the spool; ``None`` for a result of medkit that comes back, or a note that withdrew one: it
            is no part of what results are made of, and is not stored.

        Raises:
            NotTaken: there is no room, or a limit is passed; the study is marked as not whole.
            ValueError: a UID is empty.
            OSError: the source cannot be read, or the disk fails.
            LedgerError: the ledger cannot be written.
        """
        study, instance = hash_uid(study_uid), hash_uid(sop_uid)
        if self.is_own(study_uid, sop_uid):
            return None
        self.ledger.receive(study)
        try:
            taken = self.spool.store(study_uid, sop_uid, source).taken
        except NotTaken as refusal:
            if refusal.code == LOW_DISK and not self._is_known(study):
                # Its sender may give up, and nobody knows of the instances behind it: held or not, it has to come again.
                self.spool.miss(study, Mark(instance, LOW_DISK, _DOOR))
            self._tell("instance-not-taken", study, instance, refusal.code, str(refusal))
            raise
        if taken is not Taken.SAME:
            self.ledger.receive(study)
        if taken is Taken.CONFLICT:
            self._tell_conflict(study, instance)
        return taken

    def leave(self, study_uid: str, sop_uid: str, code: str) -> None:
        """Mark a study as not whole, of which a source has an instance that did not come to its end.

        What is there already is not missed because it was cut off when it came again.

        Args:
            study_uid: Study Instance UID.
            sop_uid: SOP Instance UID.
            code: why, see :class:`medkit.dicom.network.node.StorageNode`.

        Raises:
            ValueError, OSError, LedgerError: see :meth:`take`.
        """
        study, instance = hash_uid(study_uid), hash_uid(sop_uid)
        if self.is_own(study_uid, sop_uid):  # it would not be stored, and the mark would stay
            return
        if code == CUT_OFF and any(one.instance == instance for one in self.spool.instances(study)):
            return
        self.begin(study, Mark(instance, code, _DOOR))
        self._tell("instance-not-taken", study, instance, code, WHAT_TO_DO.get(code, code))

    def note_sender(self, study_uid: str, sop_uid: str, ae_title: str, address: str) -> None:
        """Tell audit log and log who sends a study: once a caller, until the study is complete.

        What :meth:`take` will not take for a part of a study is not told of.

        Args:
            study_uid: Study Instance UID.
            sop_uid: SOP Instance UID of the instance that is about to be taken.
            ae_title: of the caller.
            address: of the caller.

        Raises:
            LedgerError: the ledger cannot be read.
            OSError, AuditError: the audit log cannot be written.
        """
        self._calling.sender = {"ae_title": ae_title, "address": address}
        try:
            study = hash_uid(study_uid)
        except ValueError:
            return
        if (ae_title, address) in self._senders.get(study, ()) or self.is_own(study_uid, sop_uid):
            return
        self.audit.append("study-arriving", study=study, **self._calling.sender)
        self._senders.setdefault(study, set()).add((ae_title, address))
        _LOG.info("study begins to arrive", extra=told(study=study, **self._calling.sender))

    def forget_senders(self, study: str) -> None:
        """Tell anew who sends a study, and what of it is not taken, for it is complete."""
        self._senders.pop(study, None)
        self._told.pop(study, None)

    def begin(self, study: str, mark: Mark) -> None:
        """Mark a study as not whole, for something of it is about to come; the ledger is told before.

        Args:
            study: hash of its UID.
            mark: which its owner takes away when all has come.

        Raises:
            OSError, LedgerError: the mark or the ledger cannot be written.
        """
        if not self.spool.has(study, mark):
            self.ledger.receive(study)
            self.spool.miss(study, mark)

    def end(self, study: str, mark: Mark) -> None:
        """Take a mark back, which makes another revision of the study; raises what :meth:`begin` does."""
        if mark in (*self.spool.marks(study), *self.spool.lifted(study)):
            self.ledger.receive(study)
            self.spool.found(study, mark)

    def is_own(self, study_uid: str, sop_uid: str) -> bool:
        """Whether an instance is a result of this batch, whatever its study, or a note that withdrew one.

        Results about nobody are in another study than what they were made of, and so are notes about them: there those
        are known that the ledger was told of.
        """
        bare = sop_uid.strip(" \0")
        if not bare.startswith(_OWN_ROOT):
            return False
        if self.ledger.made_into(bare):
            return True
        made = self.ledger.result_uids(hash_uid(study_uid))
        return bare in {_note_uid(uid) for uid in made | self.ledger.noted_uids()}

    def _is_known(self, study: str) -> bool:
        """Whether its latest revision has all that came of a study, whoever may go on sending."""
        held = (self.spool.digest(study), self.spool.digest(study, without=[NOT_RELEASED]))
        return self.ledger.study(study).digest in held

    def answer(self, study_uid: str, sop_uid: str, source: IO[bytes]) -> int:
        """Take an instance and give the status of the C-STORE (PS3.4, table GG.4-1).

        What fails on our side is out of resources (0xA700): the sender keeps the instance and sends it again.
        """
        try:
            self.take(study_uid, sop_uid, source)
        except NotTaken as refusal:
            return refusal.dicom_status
        except ValueError:
            return CANNOT_UNDERSTAND
        except (OSError, LedgerError):
            return OUT_OF_RESOURCES
        return SUCCESS

    def _tell(self, event: str, study: str, instance: str, code: str, reason: str) -> None:
        """Once a study and code, until it is complete: a sender that tries again all night would fill the logs."""
        if (code,) in self._told.get(study, ()):
            return
        self.audit.append(event, study=study, instance=instance, code=code)
        self._told.setdefault(study, set()).add((code,))
        _LOG.warning("not all of a study is taken", extra=told(study=study, code=code, reason=reason))

    def _tell_conflict(self, study: str, instance: str) -> None:
        """The same of another content of an instance, once each caller: with whom that is mended has to be known."""
        sender, code = getattr(self._calling, "sender", {}), "conflict"
        if (code, *sender.values()) in self._told.get(study, ()):
            return
        self.audit.append("instance-conflict", study=study, instance=instance, code=code, **sender)
        self._told.setdefault(study, set()).add((code, *sender.values()))
        _LOG.warning(_CONFLICT, extra=told(study=study, instance=instance[:_DIGITS], code=code, **sender))


@lru_cache(maxsize=100_000)
def _note_uid(uid: str) -> str:
    return rejection_uid([uid])
