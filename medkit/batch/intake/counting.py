"""Ask an archive how many instances a study has that a node took, before that counts as all there.

A study that comes in this way is marked as not counted before its first instance is stored, and completes only once the
archive was asked: so neither a crash nor an archive that does not answer makes a part of it whole.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Lock
from typing import IO, TYPE_CHECKING

from medkit.batch.identity import hash_uid
from medkit.batch.ledger import LedgerError
from medkit.batch.marks import NOT_COUNTED, Mark
from medkit.batch.spool import CANNOT_UNDERSTAND, OUT_OF_RESOURCES
from medkit.dicom.network.archive import ArchiveDown, ArchiveRefused
from medkit.dicom.objects import read_uids
from medkit.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from medkit.batch.intake.take import Intake
    from medkit.batch.ledger import Policy
    from medkit.batch.spool import Instance, Spool
    from medkit.dicom.network.archive import Archive
    from medkit.dicom.objects import ObjectUids

__all__ = ["ArchiveCount", "end_counts", "forget_counts", "is_uncounted"]

_OWNER = "count"
_DERIVED_ROOT = "2.25."  # that of the series of our own results, which the archive has and nobody sends


@dataclass(frozen=True)
class _Looked:
    """How often the archive had the same wrong number of a study since something came, and when it is asked again."""

    arrivals: int
    total: int = -1
    times: int = 0
    due: float = 0.0


class ArchiveCount:
    """Count at one archive what a node takes; may be used by several threads.

    An archive that has another number, or none, is asked again later, for it may still be receiving. Once it has said
    the same as often as the ledger's policy has attempts, the study completes with that. Where fewer came of a series
    than it has, the making fails; where more did, the report says that their number was not checked.

    Args:
        name: of the archive in the settings.
        archive: which is asked.
        intake: the door.
        quiet_seconds: see :func:`medkit.batch.intake.quiet.settle`.
        clock: seconds that nobody sets.
    """

    def __init__(
        self,
        name: str,
        archive: Archive,
        intake: Intake,
        quiet_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.mark_name = hashlib.sha256(name.encode()).hexdigest()
        self._mark = Mark(self.mark_name, NOT_COUNTED, _OWNER)
        self._archive, self._intake, self._quiet, self._clock = archive, intake, quiet_seconds, clock
        self._policy: Policy = intake.ledger.policy
        self._looked: dict[str, _Looked] = {}
        self._lock = Lock()

    def answer(self, study_uid: str, sop_uid: str, source: IO[bytes]) -> int:
        """Take an instance as :meth:`medkit.batch.intake.take.Intake.answer` does, of a study that is to be counted."""
        try:
            own = self._intake.is_own(study_uid, sop_uid)
            study = hash_uid(study_uid)
            if not own:
                self._begin(study)
            status = self._intake.answer(study_uid, sop_uid, source)
            if not own:
                self._begin(study)  # it may have been counted before this one was stored
        except ValueError:
            return CANNOT_UNDERSTAND
        except (OSError, LedgerError):
            return OUT_OF_RESOURCES
        return status

    def count(self) -> ArchiveDown | ArchiveRefused | None:
        """Count all studies of which nothing came for the quiet time; why one could not be counted, if so.

        Raises:
            OSError, LedgerError: the store or the ledger cannot be read or written.
        """
        trouble: ArchiveDown | ArchiveRefused | None = None
        arriving = self._intake.ledger.arrivals()
        quiet = self._intake.quiet.look(arriving)
        self._looked = {one.study: self._looked[one.study] for one in arriving if one.study in self._looked}
        for one in arriving:
            looked = self._looked.get(one.study)
            if looked is None or looked.arrivals != one.arrivals:
                looked = self._looked[one.study] = _Looked(one.arrivals)
            if quiet[one.study] < self._quiet or self._clock() < looked.due:
                continue
            if not self._intake.spool.has(one.study, self._mark):
                continue
            try:
                self._count(one.study, looked)
            except ArchiveRefused as refused:
                trouble = refused
            except ArchiveDown as down:
                due = self._clock() + self._policy.delay(
                    1
                )  # the next one first, should it be this one's fault
                self._looked[one.study] = replace(looked, due=due)
                return down
        return trouble

    def _count(self, study: str, looked: _Looked) -> None:
        instances = self._intake.spool.instances(study)
        try:
            uids = _any_uids(instances)
        except OSError:  # a disk that is away for a while, or too many open files
            self._looked[study] = replace(looked, due=self._clock() + self._policy.delay(1))
            return
        if uids is None:
            if instances:  # there is nothing to ask for, and the reader tells of each
                self._end(study, looked, None)
            return
        counts = self._without_own(study, self._archive.counts(uids.study), instances)
        if (total := sum(counts.values())) != len({one.instance for one in instances}):
            times = looked.times + 1 if total == looked.total else 1
            due = self._clock() + self._policy.delay(times)
            self._looked[study] = replace(looked, total=total, times=times, due=due)
            if times < self._policy.attempts:
                return
        self._end(study, looked, counts)

    def _without_own(
        self, study: str, counts: dict[str, int], instances: Sequence[Instance]
    ) -> dict[str, int]:
        """What the archive has but for series of our own results and their rejection notes."""
        derived = {series for series in counts if series.startswith(_DERIVED_ROOT)}
        if derived and self._intake.ledger.result_uids(study):
            derived -= {uids.series for one in instances if (uids := _uids(one)) is not None}
            return {series: count for series, count in counts.items() if series not in derived}
        return counts

    def _begin(self, study: str) -> None:
        with self._lock:
            self._intake.begin(study, self._mark)

    def _end(self, study: str, looked: _Looked, counts: dict[str, int] | None) -> None:
        """Let a study complete with these counts, unless something of it came while the archive was asked."""
        with self._lock:  # whatever comes from now on marks it again
            if (study, looked.arrivals) in [
                (one.study, one.arrivals) for one in self._intake.ledger.arrivals()
            ]:
                if counts is not None:
                    self._intake.spool.expect(study, counts)
                self._intake.spool.found(study, self._mark)


def is_uncounted(spool: Spool, study: str) -> bool:
    """Whether an archive is still to be asked how much there is of a study."""
    return bool(_marks(spool, study))


def end_counts(spool: Spool, study: str) -> None:
    """Ask no archive any more about a study: who calls knows how much there is of it.

    Raises:
        OSError: a mark cannot be removed.
    """
    for mark in _marks(spool, study):
        spool.found(study, mark)


def forget_counts(intake: Intake, kept: Collection[str]) -> None:
    """Ask archives no more that are no longer asked, about no study that is being received.

    Args:
        intake: the door.
        kept: ``mark_name`` of archives that are asked.

    Raises:
        OSError, LedgerError: a mark cannot be removed, or the ledger cannot be read.
    """
    for one in intake.ledger.arrivals():
        for mark in _marks(intake.spool, one.study):
            if mark.name not in kept:
                intake.spool.found(one.study, mark)


def _marks(spool: Spool, study: str) -> list[Mark]:
    return [mark for mark in spool.marks(study) if (mark.code, mark.owner) == (NOT_COUNTED, _OWNER)]


def _any_uids(instances: Sequence[Instance]) -> ObjectUids | None:
    """Of the first that can be read; ``None`` where all are broken.

    Raises:
        OSError: one cannot be opened, and all others are broken.
    """
    failed: CaseError | None = None
    for one in instances:
        try:
            return read_uids(one.path)
        except CaseError as error:
            failed = error if error.code == "unreachable" else failed
    if failed is not None:
        raise OSError(str(failed))
    return None


def _uids(one: Instance) -> ObjectUids | None:
    with suppress(CaseError):
        return read_uids(one.path)
    return None
