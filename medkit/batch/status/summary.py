"""How a batch stands, in one object of bounded size however many studies there are."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from medkit.batch.folder import JobFolder, ServiceState
from medkit.batch.ledger import (
    PARTLY_REFUSED,
    SET_ASIDE,
    Mode,
    Reason,
    Stage,
    State,
    StudyRecord,
    Timing,
    Waiting,
)
from medkit.batch.notices import Notice, Notices
from medkit.batch.status.not_taken import with_what_was_not_taken
from medkit.batch.status.service_record import service_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from medkit.batch.ledger import LedgerView

__all__ = ["LISTED", "TROUBLED", "Flow", "Summary", "Usage", "summarise"]

# What a person may have to look at, the most urgent first; what is refused in part counts as refused.
TROUBLED = (State.QUARANTINED, State.FAILED, State.REFUSED)
LISTED = 20  # studies in each list, and reasons
_TIMED = 5000  # measurements that tell how long things take now, not half a year ago
_HOUR, _DAY = 3600, 86400


class Usage(Protocol):
    """Of a disk, as :func:`shutil.disk_usage` gives it."""

    @property
    def free(self) -> int:
        """Bytes."""

    @property
    def total(self) -> int:
        """Bytes."""


@dataclass(frozen=True)
class Flow:
    """Studies that came by: when the last one did, and how many in the last hour and day."""

    last: float | None
    last_hour: int
    last_day: int


@dataclass(frozen=True)
class Summary:
    """How a batch stands; times are seconds since 1970 (UTC).

    Args:
        at: when.
        counts: studies by state; each counts once.
        arrivals: studies that began to arrive; ``last``: when the last instance came.
        deliveries: studies that were delivered, also those superseded since.
        receiving: studies that are being received, since nothing came of the first of them.
        receiving_since: when the one that is being received for longest began to arrive.
        making: studies that wait to be made or are being made, since the first came to it.
        delivering: the same for delivery.
        silent: studies of workers whose lease ran out, and that nobody took back.
        withdrawals: objects of earlier revisions that must not stay at a destination; since the study of the first is
            where it is.
        timings: what each part of the work took, of the latest measurements.
        reasons: why studies are where they are, the commonest first.
        set_aside: quarantined studies at which nobody has to look any more, as a person said.
        troubled: the latest of those that a person may have to look at, by urgency.
        latest: studies that moved last.
        free_bytes: on the disk of the batch's folder.
        total_bytes: of that disk.
        notices: what is wrong now with sources, destinations and other parts of the service.
        service: whether one works on the batch.
        mode: whether results are sent, and whom they are about.
    """

    at: float
    counts: Mapping[State, int]
    arrivals: Flow
    deliveries: Flow
    receiving: Waiting
    receiving_since: float | None
    making: Waiting
    delivering: Waiting
    silent: Waiting
    withdrawals: Waiting
    timings: Mapping[str, Timing]
    reasons: tuple[Reason, ...]
    set_aside: int
    troubled: tuple[StudyRecord, ...]
    latest: tuple[StudyRecord, ...]
    free_bytes: int
    total_bytes: int
    notices: tuple[Notice, ...]
    service: ServiceState
    mode: Mode

    @property
    def received_again(self) -> int:
        """How many of those that are being received were begun before; they count in the state where they were."""
        return self.receiving.count - self.counts[State.RECEIVING]


def summarise(view: LedgerView, now: float, usage: Callable[[Path], Usage] = shutil.disk_usage) -> Summary:
    """Look at a ledger, and at the disk on which it lies.

    Raises:
        LedgerError: the ledger cannot be read.
        OSError: the folder is gone.
    """
    disk = usage(view.path.parent)
    job = JobFolder(view.path.parent)
    service = service_state(job)
    with view.reading():
        newest = {state: view.studies(state, newest_first=True, limit=LISTED) for state in State}
        partly = [
            study
            for state in (State.MADE, State.DELIVERED)
            for study in view.studies(state, code=PARTLY_REFUSED, newest_first=True, limit=LISTED)
        ]
        troubled = [study for state in TROUBLED[:-1] for study in newest[state] if study.code != SET_ASIDE]
        troubled += _latest([newest[State.REFUSED], partly])
        reasons = view.reasons()
        return Summary(
            at=now,
            counts=view.counts(),
            arrivals=_flow(view, State.RECEIVING, view.last_arrival(), now),
            deliveries=_flow(view, State.DELIVERED, view.last_entered(State.DELIVERED), now),
            receiving=view.arriving(),
            receiving_since=view.arriving_longest(),
            making=view.waiting(Stage.MAKE),
            delivering=view.waiting(Stage.DELIVER),
            silent=view.overdue(),
            withdrawals=_withdrawals(view),
            timings=view.timings(_TIMED),
            reasons=tuple(reasons[:LISTED]),
            set_aside=sum(one.count for one in reasons if one.code == SET_ASIDE),
            troubled=tuple(with_what_was_not_taken(job, troubled[:LISTED])),
            latest=tuple(with_what_was_not_taken(job, _latest(newest.values()))),
            free_bytes=disk.free,
            total_bytes=disk.total,
            # Of one that was killed nothing is known any more; one that ends in good order takes its notices along.
            notices=() if service is ServiceState.KILLED else tuple(Notices(job.notices).all()),
            service=service,
            mode=view.mode(),
        )


def _flow(view: LedgerView, state: State, last: float | None, now: float) -> Flow:
    return Flow(last, view.entered(state, now - _HOUR), view.entered(state, now - _DAY))


def _withdrawals(view: LedgerView) -> Waiting:
    due = view.withdrawals()
    since = [view.study(study).since for study in sorted({one.study for one in due})]
    return Waiting(len(due), min(since, default=None))


def _latest(lists: Iterable[list[StudyRecord]]) -> list[StudyRecord]:
    studies = [study for found in lists for study in found]
    return sorted(studies, key=lambda study: (-study.since, study.study))[:LISTED]
