"""Why a study that is being received does not go on: what of it was not taken, or that more is awaited.

The ledger knows no reason of it, since nothing of it was begun; the marks beside its instances do.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from medkit.batch.marks import NOT_COUNTED, NOT_RELEASED, StudyMarks
from medkit.batch.spool import WHAT_TO_DO
from medkit.dicom.findings import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from medkit.batch.folder import JobFolder
    from medkit.batch.ledger import StudyRecord

__all__ = ["with_what_was_not_taken"]

_UNCOUNTED = (
    "waits to be counted: its archive is still to be asked, or has another number of instances; if that lasts, look at "
    "the archive, and whether all of the study was sent to both"
)
_UNRELEASED = (
    "its sender has not said yet that this is all (a release of the association), or broke off; if that lasts, have "
    "the study sent again"
)


def with_what_was_not_taken(job: JobFolder, studies: Iterable[StudyRecord]) -> list[StudyRecord]:
    """Studies, those that are being received with a reason where something was not taken or counted, or is awaited.

    Args:
        job: folder of the batch.
        studies: as the ledger has them.
    """
    marks = StudyMarks(job.spool)
    return [_explained(marks, study) if study.arriving and study.code is None else study for study in studies]


def _explained(marks: StudyMarks, study: StudyRecord) -> StudyRecord:
    try:
        missing = marks.missing(study.study).values()
    except OSError:  # nobody can tell
        return study
    codes = Counter(code for code in missing if code in WHAT_TO_DO)
    if codes:
        ((code, count),) = codes.most_common(1)
        what = counted(count, "instance was", "instances were")
        return replace(study, code=code, reason=f"{what} not taken: {WHAT_TO_DO[code]}")
    if NOT_COUNTED in missing:
        return replace(study, code=NOT_COUNTED, reason=_UNCOUNTED)
    if NOT_RELEASED in missing:
        return replace(study, code=NOT_RELEASED, reason=_UNRELEASED)
    return study
