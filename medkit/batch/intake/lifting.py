"""A person says that a study is whole without what was not taken of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medkit.batch.intake.quiet import complete
from medkit.batch.ledger import IllegalTransition

if TYPE_CHECKING:
    from medkit.batch.intake.take import Intake
    from medkit.batch.ledger import Arrival

__all__ = ["lift_marks"]


def lift_marks(intake: Intake, study: str, reason: str, code: str | None = None) -> int:
    """Lift marks of a study, which makes another revision of it, to be made of what is there; return how many.

    The ledger is told who says so, and why; the audit log of each mark, before it is lifted. Reports of what is made
    then say it too. Should something of the study come in the meantime, it is completed when that has ended.

    Args:
        intake: the door; its ledger is that of the person.
        study: its hash.
        reason: why; name no patient.
        code: lift the marks with this code alone.

    Raises:
        IllegalTransition: there is no such mark, or nothing else of the study; or it is being received.
        AuditError: the audit log cannot be written, and nothing is done.
        OSError, LedgerError: the same; or a mark or the ledger cannot be written: what was lifted until then is, and
            the study is made of what is there; call it again. Where the ledger cannot be told of that either, the
            study is received until a service sees it at rest, or a source brings it again.
    """
    marks = [mark for mark in intake.spool.marks(study) if code in (None, mark.code)]
    if not marks:
        purged = intake.ledger.find(study) and intake.ledger.study(study).purged
        why = ": they were purged with its instances; have all of it sent again" if purged else ""
        raise IllegalTransition(f"study {study}: expected marks of what was not taken, got none{why}")
    if not intake.spool.instances(study):
        raise IllegalTransition(
            f"study {study}: expected instances to make something of, got none, only marks of what was not taken; have "
            "it sent again, or wait for it no longer by medkit batch dismiss"
        )
    with intake.ledger.together():
        arrival = intake.ledger.reopen(study, "marks-lifted", reason)
        for mark in marks:
            intake.audit.append("mark-lifted", study=study, instance=mark.name, code=mark.code)
    try:
        for mark in marks:
            intake.spool.lift(study, mark)
    finally:  # or the study stays open, and nobody may lift the others
        _complete(intake, arrival)
    return len(marks)


def _complete(intake: Intake, arrival: Arrival) -> None:
    try:
        complete(intake, arrival)
    except IllegalTransition:  # something came, or somebody completed it between two marks
        intake.ledger.receive(arrival.study)
