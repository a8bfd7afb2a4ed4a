"""Remove patients' data from results that were delivered, when their time is over."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from medkit.batch.failures import Failures
from medkit.batch.identity import is_hash
from medkit.batch.ledger import IllegalTransition
from medkit.batch.logs import told
from medkit.batch.making.publishing import entries
from medkit.data.writing import write_text
from medkit.dicom.writing.stubs import reduce_to_stub

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from medkit.batch.ledger import Ledger, StudyRecord

__all__ = ["purge_results"]

_LOG = logging.getLogger(__name__)
_MARK = "purged"  # a file with the latest revision of which no more is left, and since when it was at its end


def purge_results(
    results: Path,
    ledger: Ledger,
    older_than_seconds: float,
    clock: Callable[[], float] = time.time,
    tell: Callable[[str], object] = lambda study: None,
) -> list[str]:
    """Leave of the results of finished studies no more than class and UIDs, and nothing of their rejection notes.

    A study is finished that was delivered, refused, skipped or quarantined so long ago, and of which nothing has to be
    withdrawn. With what is left, :class:`medkit.batch.delivery.destinations.ArchiveDestination` can still withdraw its
    objects. What was quarantined before all was delivered is made anew where it is retried, or has to come again.

    A file that holds no object, for the disk has damaged it, is removed, and the log says so: it serves no withdrawal,
    and an archive is then searched for its object by the study of another. One that the disk does not give out stays,
    and keeps no other from going.

    Args:
        results: folder of all results.
        ledger: what became of them.
        older_than_seconds: the time for which results are kept.
        clock: the ledger's.
        tell: called with the hash of each study of which something was removed, before that is noted: after a crash
            between it is called again.

    Returns:
        Hashes of the studies of which something was removed.

    Raises:
        OSError: a file cannot be read or written; all others are purged first.
        LedgerError: the ledger cannot be read or written.
    """
    gone, failures = [], Failures()
    for folder in entries(results):
        if not (is_hash(folder.name) and ledger.find(folder.name)):
            continue
        record = ledger.study(folder.name)
        with failures.kept(), suppress(IllegalTransition):  # a person has it tried again, or more of it came
            if (
                record.ended
                and clock() - record.since > older_than_seconds
                and not ledger.withdrawals(record.study)
                and _purge(results, ledger, record, tell)
            ):
                gone.append(record.study)
    failures.raise_first()
    return gone


def _purge(results: Path, ledger: Ledger, record: StudyRecord, tell: Callable[[str], object]) -> bool:
    mark, end = results / record.study / _MARK, f"{record.revision} {record.since}"
    if mark.is_file() and mark.read_bytes() == end.encode():
        return False
    ledger.results_purged(record.study)  # before a person has them delivered
    # Those that the ledger had: what is made meanwhile is of a later revision.
    made = {
        one.path
        for revision in range(1, record.revision + 1)
        for one in ledger.results(record.study, revision)
    }
    failures = Failures()
    for name in sorted(made):
        with failures.kept():
            (results / name).with_suffix(".rejection.dcm").unlink(missing_ok=True)
            if (results / name).is_file():
                _reduce(results, name, record.study)
    failures.raise_first()
    tell(record.study)
    write_text(mark, end)
    return True


def _reduce(results: Path, name: str, study: str) -> None:
    try:
        reduce_to_stub(results / name)
    except ValueError:
        (results / name).unlink()
        _LOG.warning("%s cannot be read and was removed; look at the disk", name, extra=told(study=study))
