"""The studies of a state, as page and command list them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medkit.batch.ledger import State
from medkit.batch.status.not_taken import with_what_was_not_taken

if TYPE_CHECKING:
    from medkit.batch.folder import JobFolder
    from medkit.batch.ledger import LedgerView, StudyRecord

__all__ = ["studies_in"]


def studies_in(
    job: JobFolder, view: LedgerView, state: State, limit: int | None = None, offset: int = 0
) -> list[StudyRecord]:
    """The studies that are in a state, the newest first.

    As those that are ``receiving`` all are listed that are being received, with what they wait for: also those that were
    begun before and of which more comes, which count in the state where they were.

    Args:
        job: folder of the batch.
        view: of its ledger.
        state: which.
        limit: no more than so many.
        offset: and not the first so many.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    receiving = state is State.RECEIVING
    studies = view.studies(state, again=receiving, newest_first=True, limit=limit, offset=offset)
    return with_what_was_not_taken(job, studies, waiting=receiving)
