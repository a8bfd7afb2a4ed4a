"""Say that studies are all there: of which nothing came for a while, or whose source has said so.

The while is one that this process has seen pass: each look compares the number of arrivals with that of the look before.
So neither a node that was down nor a clock that is set makes half a study whole.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from medkit.batch.intake.counting import is_uncounted
from medkit.batch.ledger import IllegalTransition, State
from medkit.batch.logs import told

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from medkit.batch.intake.take import Intake
    from medkit.batch.ledger import Arrival, StudyRecord

__all__ = ["QuietTimes", "Settled", "complete", "settle"]

_LOG = logging.getLogger(__name__)


class QuietTimes:
    """Since when this process has seen nothing come of each study; may be used by several threads.

    Args:
        clock: seconds that nobody sets.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, Lock()
        self._seen: dict[str, tuple[int, float]] = {}  # arrivals, and since when there are so many

    def look(self, arriving: Sequence[Arrival]) -> dict[str, float]:
        """Seconds for which nothing came, by hash of the study.

        Args:
            arriving: all studies that are being received; the others are forgotten.
        """
        with self._lock:
            now, before = self._clock(), self._seen
            self._seen = {}
            for one in arriving:
                arrivals, since = before.get(one.study, (-1, now))
                self._seen[one.study] = (one.arrivals, since if arrivals == one.arrivals else now)
            return {study: now - since for study, (_, since) in self._seen.items()}


@dataclass(frozen=True)
class Settled:
    """What became of studies that were quiet, by their hashes.

    Args:
        begun: those with a new revision, and its number.
        unchanged: those that are what they were.
        empty: those of which nothing could be stored; they wait for their instances.
    """

    begun: dict[str, int]
    unchanged: tuple[str, ...]
    empty: tuple[str, ...]


def settle(
    intake: Intake, seconds: float, studies: Collection[str] | None = None, *, whole: bool = False
) -> Settled:
    """Complete studies of which nothing came for so many seconds; where something comes meanwhile, they wait again.

    Those that an archive has to count (:class:`medkit.batch.intake.counting.ArchiveCount`) wait for that too, and those
    whose sender may still go on (:class:`medkit.batch.intake.associations.Associations`) for its end.

    Call it every few seconds, in the process that takes the instances: the time begins with the first call that sees a
    study, and anew with each that sees more of it.

    Args:
        intake: the door.
        seconds: how long; 0 where a source has said that it has brought all.
        studies: hashes of those that are asked about; all where this is ``None``.
        whole: their source says that they are all there, see :meth:`medkit.batch.ledger.Ledger.complete`.
    """
    begun: dict[str, int] = {}
    unchanged, empty = [], []
    arriving = intake.ledger.arrivals()
    quiet = intake.quiet.look(arriving)
    for arrival in arriving:
        study = arrival.study
        if quiet[study] < seconds or (studies is not None and study not in studies):
            continue
        if not intake.spool.instances(study):
            empty.append(study)
            continue
        if is_uncounted(intake.spool, study) or not intake.associations.close(study):
            continue
        try:
            number = complete(intake, arrival, whole=whole)
        except IllegalTransition:
            continue
        if number is None:
            unchanged.append(study)
        else:
            begun[study] = number
    return Settled(begun, tuple(unchanged), tuple(empty))


def complete(intake: Intake, arrival: Arrival, *, whole: bool = False) -> int | None:
    """Say that a study is all there, in the ledger, in the audit log and in the log; where one takes it not, in none.

    Args:
        intake: the door.
        arrival: how far it had come when that was found.
        whole: see :meth:`medkit.batch.ledger.Ledger.complete`.

    Returns:
        The number of the new revision; ``None`` where it is what it was.

    Raises:
        IllegalTransition: more has come since.
        LedgerError: nothing of the study is there.
        OSError, AuditError: the audit log cannot be written.
    """
    study, instances = arrival.study, intake.spool.instances(arrival.study)
    digest, size = intake.spool.digest(study), sum(one.size for one in instances)
    with intake.ledger.together():
        number = intake.ledger.complete(arrival, digest, len(instances), whole=whole)
        if number is not None:
            fields = {"revision": number, "count": len(instances), "bytes": size}
            intake.audit.append("study-complete", study=study, **fields)
    intake.forget_senders(study)
    if number is None:
        _LOG.info(
            "study came again, and nothing of it is new",
            extra=told(study=study, state=intake.ledger.study(study).state),
        )
    else:
        _tell(intake.ledger.study(study), number)
    return number


def _tell(record: StudyRecord, revision: int) -> None:
    level, fields = logging.INFO, told(study=record.study, revision=revision)
    if (record.revision, record.state) == (revision, State.QUARANTINED):
        level = logging.WARNING
        fields = told(
            study=record.study,
            revision=revision,
            state=record.state,
            code=record.code,
            reason=record.reason,
        )
    _LOG.log(level, "study complete", extra=fields)
