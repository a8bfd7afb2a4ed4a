"""A person says that nothing more is to come of a study of which nothing could be taken."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from medkit.batch.ledger import IllegalTransition, State
from medkit.batch.marks import NOT_COUNTED
from medkit.dicom.findings import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from medkit.batch.intake.take import Intake
    from medkit.batch.ledger import Arrival

__all__ = ["dismiss"]

_AT_REST = 3600.0  # seconds without an arrival: what brings the study now would miss its mark
_MINUTE = 60.0


def dismiss(intake: Intake, study: str, reason: str, clock: Callable[[], float] = time.time) -> int:
    """Await a study no longer of which nothing is there but marks; return how many of these said what was not taken.

    The ledger's journal is told who says so, and why; the audit log of each mark. Should the study come after all, it is
    one like any other; where that is in this very moment, its marks stay.

    Args:
        intake: the door; its ledger is that of the person.
        study: its hash.
        reason: why; name no patient.
        clock: the ledger's.

    Raises:
        IllegalTransition: it is not being received, something of it is there, or came within the hour.
        LedgerError, AuditError: the ledger or the audit log cannot be written; nothing was done; call it again.
        OSError: the same; or a mark cannot be removed, and the study is awaited no longer. Call it again: what is left
            is done then. Until that, marks that are left count, should it come after all.
    """
    arrival = next((one for one in intake.ledger.arrivals() if one.study == study), None)
    if intake.spool.instances(study) or (arrival is None and not _broke_off(intake, study)):
        raise IllegalTransition(
            f"study {study}: expected one that is being received and of which no instance is stored, got "
            f"{_what_there_is(intake, study, arrival)}"
        )
    silent = math.inf if arrival is None else clock() - arrival.last_arrival
    if silent < _AT_REST:
        raise IllegalTransition(
            f"study {study}: expected that nothing was heard of it for an hour, for its sender may still go on; got "
            f"{counted(int(silent / _MINUTE), 'minute', 'minutes')}; call again in "
            f"{counted(math.ceil((_AT_REST - silent) / _MINUTE), 'minute', 'minutes')}"
        )
    # The ledger first: marks that are left behind by a crash are on the safe side, a study without its marks is not.
    marks = [*intake.spool.marks(study), *intake.spool.lifted(study)]
    missed = [mark for mark in marks if mark.code != NOT_COUNTED]
    with intake.ledger.together():
        if arrival is not None:
            intake.ledger.dismiss(arrival, reason)
        for mark in missed:
            intake.audit.append("mark-dismissed", study=study, instance=mark.name, code=mark.code)
    still = intake.spool.marks(study)
    intake.spool.forget(study, marks)
    # Something may have come meanwhile, whose source found its mark there and relies on it.
    if any(one.study == study for one in intake.ledger.arrivals()):
        for mark in still:
            intake.spool.miss(study, mark)
    return len(missed)


def _what_there_is(intake: Intake, study: str, arrival: Arrival | None) -> str:
    """What is there of a study that cannot be dismissed, and what to do about it."""
    there = len(intake.spool.instances(study))
    stored = f"{counted(there, 'instance', 'instances')} stored"
    if arrival is not None:
        return (
            f"{stored}; wait until nothing more comes: it is made of them, or quarantined where something of it was not "
            "taken"
        )
    state = intake.ledger.study(study).state if intake.ledger.find(study) else "unknown to the ledger"
    if not there:
        return f"one that is {state}; nothing more of it is awaited, and there is nothing to dismiss"
    then = "there is nothing to dismiss"
    if state is State.QUARANTINED:
        then = (
            "its reason (medkit batch history) says what to do; medkit batch lift has it made without what was not "
            "taken, and medkit batch purge removes what is stored"
        )
    return f"one that is {state}, {stored}; {then}"


def _broke_off(intake: Intake, study: str) -> bool:
    """Whether an earlier call told the ledger that nothing is to come of a study, and not all that follows was done."""
    known = bool(intake.ledger.find(study))
    gone = not known or intake.ledger.study(study).purged
    return gone and study in intake.spool.studies()
