"""A check of all that a batch keeps: the ledger with its journal, the audit log's chain, every stored instance.

It may be made while the batch goes on: what moves meanwhile is left to the next check.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medkit.batch.audit import AuditLog, Head
from medkit.batch.delivery.deliver import content_on_disk
from medkit.batch.ledger import State
from medkit.batch.spool import Spool
from medkit.dicom.findings import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from medkit.batch.folder import JobFolder
    from medkit.batch.ledger import LedgerView, StudyRecord

__all__ = ["Fault", "Verification", "verify"]

_UNSENT = (State.MADE, State.DELIVERING, State.QUARANTINED)


@dataclass(frozen=True)
class Fault:
    """A thing that is not as it was left.

    Args:
        kind: ``ledger``, ``audit``, ``instances`` or ``results``.
        message: one line for a person.
    """

    kind: str
    message: str


@dataclass(frozen=True)
class Verification:
    """What :func:`verify` found.

    Args:
        faults: all of them.
        studies: how many were looked at.
        instances: how many of theirs were hashed again.
        head: end of the audit log's chain; ``None`` where there is no log, or it does not hold.
    """

    faults: tuple[Fault, ...]
    studies: int
    instances: int
    head: Head | None


def verify(
    job: JobFolder,
    view: LedgerView,
    *,
    through: Collection[Head] = (),
    hashes: bool = True,
    on_progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Check a batch.

    Args:
        job: its folder.
        view: of its ledger.
        through: heads of the audit log that were kept elsewhere.
        hashes: hash every stored instance, and every result that is to be delivered, again, which reads them all.
        on_progress: called with the number of studies that were looked at, and of all.

    Raises:
        LedgerError: the ledger cannot be read.
        OSError: a folder cannot be read.
    """
    found = [Fault("ledger", fault) for fault in view.faults()]
    spool = _store(job)
    stored = set(spool.studies()) if spool else set()
    records = view.studies()
    head, broken = _audit(job, through, sum(bool(record.revision) for record in records))
    found += broken
    instances = 0
    for number, record in enumerate(records, 1):
        if spool is not None and record.study in stored and hashes:
            instances += len(spool.instances(record.study))
        found += _study(job, view, spool, record, hashes=hashes)
        if on_progress is not None:
            on_progress(number, len(records))
    found += _strangers(view, spool, stored)
    return Verification(tuple(found), len(records), instances, head)


def _store(job: JobFolder) -> Spool | None:
    try:
        return Spool(job.spool, make=False)
    except FileNotFoundError:
        return None


def _audit(job: JobFolder, through: Collection[Head], known: int) -> tuple[Head | None, list[Fault]]:
    there = job.audit.is_dir()
    result = AuditLog(job.audit, "verify").verify(through=through) if there else None
    if result is not None and result.broken is not None:
        return None, [Fault("audit", result.broken)]
    if result is not None and result.head != Head():
        return result.head, []
    expected = "whose head was kept" if through else f"of {counted(known, 'study', 'studies')} in the ledger"
    text = f"{job.audit}: expected the audit log {expected}, got no {'line' if there else 'such folder'}"
    gone = [Fault("audit", f"{text}; find out who moved or removed it: a service begins a new one")]
    return None, gone if through or known else []


def _study(
    job: JobFolder, view: LedgerView, spool: Spool | None, record: StudyRecord, *, hashes: bool
) -> list[Fault]:
    found = [Fault("results", line) for line in _results(job, view, record, hashes=hashes)]
    if record.revision and not record.purged and not record.arriving:
        found += [Fault("instances", line) for line in _instances(spool, record, hashes=hashes)]
    return found if found and view.study(record.study) == record else []


def _instances(spool: Spool | None, record: StudyRecord, *, hashes: bool) -> Iterator[str]:
    held = spool.instances(record.study) if spool is not None else []
    if not held or spool is None:
        yield f"study {record.study}: expected {record.instances} stored instances, got none"
        return
    if spool.digest(record.study) != record.digest:
        yield (
            f"study {record.study}: expected the {record.instances} instances of revision {record.revision}, got "
            f"{len(held)} that are not these"
        )
    for one in spool.damaged(record.study) if hashes else ():
        yield f"{one.path}: expected the bytes that came, got others; send the study again"


def _results(job: JobFolder, view: LedgerView, record: StudyRecord, *, hashes: bool) -> Iterator[str]:
    if record.state not in _UNSENT or record.results_purged:
        return
    results = view.results(record.study, record.revision)
    unsent = {job.results / result.path: result.sha256 for result in results if result.delivered_at is None}
    for path, sha256 in unsent.items():
        if not path.is_file():
            yield f"{path}: expected a result that is to be delivered, got no file"
        elif hashes and content_on_disk(path) != sha256:
            yield f"{path}: expected the result that was made, got another content; look at the disk"


def _strangers(view: LedgerView, spool: Spool | None, stored: set[str]) -> Iterator[Fault]:
    for study in sorted(stored):
        if not view.find(study):  # not by its LedgerError: a broken disk raises one too
            text = "has stored instances, and the ledger does not know it"
            if spool is None or not spool.instances(study):
                text = "is left of a dismissal that broke off; call medkit batch dismiss for it again"
            yield Fault("instances", f"study {study}: {text}")
