"""Why a study that is being received does not go on: what of it was not taken, or that more is awaited.

The ledger knows no reason of it, since nothing of it was begun; the marks beside its instances do.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

from medkit.batch.ledger import SET_ASIDE, State
from medkit.batch.marks import (
    BROKEN,
    NOT_COUNTED,
    NOT_RELEASED,
    UNFINISHED_FOLDER,
    UNFINISHED_PULL,
    WHAT_IS_AWAITED,
    WHAT_TO_DO,
)
from medkit.batch.spool import Spool
from medkit.dicom.findings import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from medkit.batch.folder import JobFolder
    from medkit.batch.ledger import StudyRecord
    from medkit.batch.marks import Mark

__all__ = ["Missed", "missed_of", "with_what_was_not_taken"]


class Missed(StrEnum):
    """What a mark says is missed."""

    INSTANCE = "instance"
    FILE = "file"
    REST = "rest of the study"
    RELEASE = "word of the sender that this is all"
    COUNT = "count of an archive"

    @property
    def is_named(self) -> bool:
        """Whether a mark's name is that of one thing of the study, and not of who owes something about it."""
        return self in (Missed.INSTANCE, Missed.FILE)


_PURGED = "its instances were purged; send all of it again, and then retry it if it still stands here"
_MISSED = {
    BROKEN: Missed.FILE,
    UNFINISHED_FOLDER: Missed.REST,
    UNFINISHED_PULL: Missed.REST,
    NOT_RELEASED: Missed.RELEASE,
    NOT_COUNTED: Missed.COUNT,
}


def missed_of(mark: Mark) -> Missed:
    """What a mark says is missed."""
    return _MISSED.get(mark.code, Missed.INSTANCE)


def with_what_was_not_taken(
    job: JobFolder, studies: Iterable[StudyRecord], *, waiting: bool = False
) -> list[StudyRecord]:
    """Studies, those that are being received with a reason where something was not taken or counted, or is awaited.

    These have as many instances, too, as are there by now: the ledger knows those of their latest revision. Those in
    quarantine whose instances were purged say that they have to come again, unless only delivery is left or they were
    set aside.

    Args:
        job: folder of the batch.
        studies: as the ledger has them.
        waiting: whether it matters more why they are not begun than why they are where they were before.
    """
    studies = [_to_come_again(one) for one in studies]
    try:
        spool = Spool(job.spool, make=False)
    except OSError:  # there is none
        return studies
    return [_explained(spool, one, over=waiting) if one.arriving else one for one in studies]


def _to_come_again(study: StudyRecord) -> StudyRecord:
    to_deliver = study.recipe is not None and not study.results_purged
    if study.state is not State.QUARANTINED or study.code == SET_ASIDE or not study.purged:
        return study
    if study.arriving or to_deliver:
        return study
    return replace(study, reason=_PURGED)


def _explained(spool: Spool, study: StudyRecord, *, over: bool) -> StudyRecord:
    try:
        study = replace(study, instances=spool.count(study.study))
        missing = spool.marks(study.study)
    except OSError:  # nobody can tell
        return study
    if study.code is not None and not over:
        return study
    codes = Counter({mark.name: mark.code for mark in missing if mark.code in WHAT_TO_DO}.values())
    if codes:
        ((code, count),) = codes.most_common(1)
        what = counted(count, "instance was", "instances were")
        return replace(study, code=code, reason=f"{what} not taken: {WHAT_TO_DO[code]}")
    awaited = next((code for code in WHAT_IS_AWAITED if code in {mark.code for mark in missing}), None)
    if awaited is None:
        return study
    callers = sorted(mark.caller for mark in missing if mark.code == awaited and mark.caller)
    who = f"{', '.join(callers)}: " if callers else ""
    return replace(study, code=awaited, reason=f"{who}{WHAT_IS_AWAITED[awaited]}")
