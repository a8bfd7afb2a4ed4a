"""Remove patients' data from results that were delivered, when their time is over."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from medkit.batch.identity import is_hash
from medkit.batch.ledger import LedgerError
from medkit.batch.ledger.states import ENDS
from medkit.batch.making.publishing import entries
from medkit.data.writing import write_text
from medkit.dicom.writing.stubs import reduce_to_stub

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from medkit.batch.ledger import Ledger, StudyRecord

__all__ = ["purge_results"]

_MARK = "purged"  # a file with the latest revision of which no more is left, and since when it was at its end


def purge_results(
    results: Path, ledger: Ledger, older_than_seconds: float, clock: Callable[[], float] = time.time
) -> list[str]:
    """Leave of the results of finished studies no more than class and UIDs, and nothing of their rejection notes.

    A study is finished that was delivered, refused, skipped or quarantined so long ago, and of which nothing has to be
    withdrawn. With what is left, :class:`medkit.batch.delivery.destinations.ArchiveDestination` can still withdraw its
    objects. What was quarantined before all was delivered is made anew where it is retried, or has to come again.

    Args:
        results: folder of all results.
        ledger: what became of them.
        older_than_seconds: the time for which results are kept.
        clock: the ledger's.

    Returns:
        Hashes of the studies of which something was removed.

    Raises:
        OSError: a file cannot be read or written.
    """
    gone = []
    for folder in entries(results):
        with suppress(LedgerError):  # it is none of the ledger's
            record = ledger.study(folder.name)
            if (
                is_hash(folder.name)
                and record.state in ENDS
                and not record.arriving
                and clock() - record.since > older_than_seconds
                and not ledger.withdrawals(record.study)
                and _purge(results, ledger, record)
            ):
                gone.append(record.study)
    return gone


def _purge(results: Path, ledger: Ledger, record: StudyRecord) -> bool:
    mark, end = results / record.study / _MARK, f"{record.revision} {record.since}"
    if mark.is_file() and mark.read_text(encoding="utf-8") == end:
        return False
    ledger.results_purged(record.study)  # before a person has them delivered
    # Those that the ledger had: what is made meanwhile is of a later revision.
    made = {
        results / one.path
        for revision in range(1, record.revision + 1)
        for one in ledger.results(record.study, revision)
    }
    for path in sorted(path for path in made if path.is_file()):
        path.with_suffix(".rejection.dcm").unlink(missing_ok=True)
        reduce_to_stub(path)
    write_text(mark, end)
    return True
