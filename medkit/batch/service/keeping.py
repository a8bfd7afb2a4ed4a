"""Remove patients' data of which the time is over: instances first, and then what was made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medkit.batch.failures import Failures
from medkit.batch.ledger import IllegalTransition
from medkit.batch.making import purge_results

if TYPE_CHECKING:
    from medkit.batch.audit import AuditLog
    from medkit.batch.folder import JobFolder
    from medkit.batch.ledger import Ledger
    from medkit.batch.spool import Spool

__all__ = ["INSTANCES_PURGED", "RESULTS_PURGED", "purge_old", "purge_study"]

INSTANCES_PURGED, RESULTS_PURGED = "instances-purged", "results-purged"


def purge_old(
    job: JobFolder, ledger: Ledger, spool: Spool, audit: AuditLog, older_than_seconds: float
) -> dict[str, list[str]]:
    """Remove instances and results of studies that have ended, each with a line of the audit log.

    The line of instances is written before they go, and that of results before it is noted that they are gone: a crash
    between leaves a line too many, and never one too few.

    Args:
        job: folder of the batch.
        ledger: its own; says which studies have ended.
        spool: its own.
        audit: its own.
        older_than_seconds: the time for which they are kept.

    Returns:
        Hashes of the studies whose instances, and of those whose results, are gone now: by :data:`INSTANCES_PURGED` and
        :data:`RESULTS_PURGED`, which are the events of the audit log as well.

    Raises:
        OSError: something cannot be read or removed; all else is first.
        LedgerError, AuditError: the ledger or the audit log cannot be read or written.
    """

    def tell(study: str) -> None:
        audit.append(RESULTS_PURGED, study=study)

    gone: dict[str, list[str]] = {INSTANCES_PURGED: [], RESULTS_PURGED: []}
    failures = Failures()
    with failures.kept():
        spool.remove_discarded()
    for study in spool.untouched(older_than_seconds):
        with failures.kept():
            if _purge_instances(ledger, spool, audit, study):
                gone[INSTANCES_PURGED].append(study)
    with failures.kept():
        gone[RESULTS_PURGED] = purge_results(job.results, ledger, older_than_seconds, tell=tell)
    failures.raise_first()
    return gone


def _purge_instances(ledger: Ledger, spool: Spool, audit: AuditLog, study: str) -> bool:
    """Remove the instances of a study if it is at an end; whether it was."""
    if not ledger.find(study):  # not by its LedgerError: a broken disk raises one too
        return False
    record = ledger.study(study)
    if not record.ended:
        return False
    if not record.purged:  # a removal that failed was told
        audit.append(INSTANCES_PURGED, study=study)
    try:
        ledger.purged(study)
        spool.discard(study, at_rest=ledger.at_end(study))
    except IllegalTransition:  # something of it came meanwhile
        return False
    return True


def purge_study(ledger: Ledger, spool: Spool, audit: AuditLog, study: str, reason: str) -> int:
    """Remove what is stored of one study that is at an end, so that it can be sent again, whole; results stay.

    A service may work on the batch. After a crash call it again.

    Args:
        ledger: is told who says so, and why.
        spool: its own.
        audit: gets a line before anything goes.
        study: its hash.
        reason: why; name no patient.

    Returns:
        How many instances were there; where there was none, the audit log gets no line of it.

    Raises:
        IllegalTransition: it is not at an end, or something of it came in this moment, and nothing is removed.
        OSError: something cannot be removed, or the audit log cannot be written.
        LedgerError, AuditError: the ledger or the audit log cannot be written, and nothing is removed.
    """
    there = spool.count(study)
    with ledger.together():
        ledger.discard(study, reason)
        if there:
            audit.append(INSTANCES_PURGED, study=study)
    spool.discard(study, at_rest=ledger.at_end(study))
    return there
