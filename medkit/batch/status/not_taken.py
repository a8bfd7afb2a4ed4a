"""Why a study that is being received does not go on: what of it was not taken.

The ledger knows no reason of it, since nothing of it was begun; the marks beside its instances do.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from medkit.batch.marks import StudyMarks
from medkit.batch.spool import LOW_DISK, TOO_MANY
from medkit.dicom.findings import counted
from medkit.dicom.network.cut_off import CUT_OFF, TOO_LARGE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from medkit.batch.folder import JobFolder
    from medkit.batch.ledger import StudyRecord

__all__ = ["WHAT_TO_DO", "with_what_was_not_taken"]

# What is only on its way, such as the rest of a folder, is no reason to do anything.
WHAT_TO_DO = {
    LOW_DISK: "the disk was too full; make room, and send the study again",
    TOO_LARGE: "above a limit; raise it if that is right, and send the study again",
    TOO_MANY: "above a limit; raise it if that is right, and send the study again",
    CUT_OFF: "the sender broke off; send the study again",
}


def with_what_was_not_taken(job: JobFolder, studies: Iterable[StudyRecord]) -> list[StudyRecord]:
    """Studies, those that are being received with a reason where something of them was not taken.

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
    if not codes:
        return study
    ((code, count),) = codes.most_common(1)
    what = counted(count, "instance was", "instances were")
    return replace(study, code=code, reason=f"{what} not taken: {WHAT_TO_DO[code]}")
