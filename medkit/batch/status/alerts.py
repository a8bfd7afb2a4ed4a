"""What a person has to look at now, and what to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from medkit.batch.folder import ServiceState
from medkit.batch.hours import Hours
from medkit.batch.ledger import State, Waiting
from medkit.batch.notices import Kind
from medkit.batch.spool import SpoolLimits
from medkit.batch.status.words import duration, size
from medkit.dicom.findings import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medkit.batch.notices import Notice
    from medkit.batch.status.summary import Summary

__all__ = ["OF_KIND", "Alert", "AlertCode", "Thresholds", "alerts"]

_HOUR, _MINUTE = 3600.0, 60.0


class AlertCode(StrEnum):
    """What may be wrong."""

    NO_SERVICE = "no-service"
    QUARANTINE = "quarantine"
    NOTHING_CAME = "nothing-came"
    RECEIVING_ENDLESS = "receiving-endless"
    RECEIVING_STUCK = "receiving-stuck"
    MAKING_STUCK = "making-stuck"
    DELIVERY_STUCK = "delivery-stuck"
    WORKERS_SILENT = "workers-silent"
    WITHDRAWALS_DUE = "withdrawals-due"
    STORE_FULL = "store-full"
    DISK_LOW = "disk-low"
    SOURCE_FAILS = "source-fails"
    DESTINATION_FAILS = "destination-fails"
    WITHDRAWAL_FAILS = "withdrawal-fails"
    CHORE_FAILS = "chore-fails"
    WORKERS_DYING = "workers-dying"
    CLUSTER_FAILS = "cluster-fails"
    AUDIT_BROKEN = "audit-broken"
    AUDIT_STOPPED = "audit-stopped"


OF_KIND = {
    Kind.SOURCE: AlertCode.SOURCE_FAILS,
    Kind.DESTINATION: AlertCode.DESTINATION_FAILS,
    Kind.WITHDRAWAL: AlertCode.WITHDRAWAL_FAILS,
    Kind.CHORE: AlertCode.CHORE_FAILS,
    Kind.WORKERS: AlertCode.WORKERS_DYING,
    Kind.CLUSTER: AlertCode.CLUSTER_FAILS,
    Kind.AUDIT: AlertCode.AUDIT_BROKEN,
    Kind.AUDIT_LINES: AlertCode.AUDIT_STOPPED,
}
"""What is wrong where a part of a kind has a notice."""


@dataclass(frozen=True)
class Alert:
    """A thing to look at: a code for machines, and one line for a person."""

    code: AlertCode
    message: str


@dataclass(frozen=True)
class Thresholds:
    """When to call a person.

    Args:
        silent_hours: nothing came for so long, counted in the hours in which something is expected; ``None`` where a
            batch may well be at its end.
        expected: those hours.
        receiving_hours: a study came to rest and nobody began it.
        endless_hours: something comes of a study again and again, so that it is never complete.
        making_hours: a study waits to be made, or is being made.
        delivery_hours: a study that was made is not delivered, or an earlier result not withdrawn.
        overdue_hours: a worker's lease ran out and nobody took its study back.
        down_hours: an archive, a shared folder or a cluster does not answer, which may be mended by itself. What is not,
            such as a certificate that nobody trusts, is told at once.
    """

    silent_hours: float | None = None
    expected: Hours = field(default_factory=Hours)
    receiving_hours: float = 1.0
    endless_hours: float = 24.0
    making_hours: float = 24.0
    delivery_hours: float = 2.0
    overdue_hours: float = 0.25
    down_hours: float = 1.0


def alerts(
    summary: Summary,
    thresholds: Thresholds,
    watched_since: float | None = None,
    kept_free_bytes: int = SpoolLimits.free_bytes,
) -> list[Alert]:
    """What is to be looked at, in the order of :class:`AlertCode`.

    Args:
        summary: how the batch stands.
        thresholds: when to call a person.
        watched_since: when the service began to listen, seconds since 1970: nothing is missed before. Where it is not
            given, a batch to which nothing ever came is not told.
        kept_free_bytes: on the disk; below it, the store takes no more. Below twice that a person is called, while
            there is time.
    """
    found = [*_service(summary), *_quarantine(summary), *_silence(summary, thresholds, watched_since)]
    found += [*_endless(summary, thresholds), *_stuck(summary, thresholds)]
    found += [*_disk(summary, kept_free_bytes), *_noticed(summary, thresholds)]
    return found


def _service(summary: Summary) -> Iterator[Alert]:
    if summary.service is ServiceState.RUNNING:
        return
    parts = [(summary.receiving, "being received"), (summary.making, "to be made")]
    if not summary.mode.shadow:
        parts += [(summary.delivering, "to be delivered"), (summary.withdrawals, "to be withdrawn")]
    waiting = ", ".join(f"{one.count} {what}" for one, what in parts if one.count)
    if waiting or summary.service is ServiceState.KILLED:
        ended = " (the last was killed)" if summary.service is ServiceState.KILLED else ""
        left = f"; what waits: {waiting}" if waiting else ""
        yield Alert(
            AlertCode.NO_SERVICE,
            f"no service runs on this folder{ended}{left}; start medkit serve, or medkit batch run, again",
        )


def _quarantine(summary: Summary) -> Iterator[Alert]:
    if count := summary.counts[State.QUARANTINED] - summary.set_aside:
        yield Alert(
            AlertCode.QUARANTINE,
            f"{counted(count, 'study', 'studies')} in quarantine; the reason says what to do; then medkit batch retry, "
            "or quarantine to leave it so",
        )


def _silence(summary: Summary, thresholds: Thresholds, watched_since: float | None) -> Iterator[Alert]:
    known = [time for time in (summary.arrivals.last, watched_since) if time is not None]
    if thresholds.silent_hours is None or not known:
        return
    silent = thresholds.expected.seconds_between(max(known), summary.at)
    if silent > thresholds.silent_hours * _HOUR:
        ever = "nothing came" if summary.arrivals.last is not None else "nothing ever came"
        yield Alert(
            AlertCode.NOTHING_CAME,
            f"{ever} for {duration(silent)} in which something was expected; ask the sender, and look at the network",
        )


def _endless(summary: Summary, thresholds: Thresholds) -> Iterator[Alert]:
    age = 0.0 if summary.receiving_since is None else summary.at - summary.receiving_since
    if age > thresholds.endless_hours * _HOUR:
        yield Alert(
            AlertCode.RECEIVING_ENDLESS,
            f"a study is being received for {duration(age)} and is never complete; see whether its sender repeats "
            "itself, or a pull does not end",
        )


def _stuck(summary: Summary, thresholds: Thresholds) -> Iterator[Alert]:
    nothing = Waiting(0, None)
    for code, waiting, hours, message in (
        (
            AlertCode.RECEIVING_STUCK, summary.receiving, thresholds.receiving_hours,
            "{0} not begun though nothing more came, for {1} of the first; see whether the service runs, and why they "
            "wait (medkit batch status FOLDER --state receiving); have those sent again of which nothing could be "
            "stored (0 instances), or wait for them no longer (medkit batch dismiss)",
        ),
        (
            AlertCode.MAKING_STUCK, summary.making, thresholds.making_hours,
            "{0} not made yet, the first waits for {1}; see whether the workers run, and whether they are enough",
        ),
        (
            AlertCode.DELIVERY_STUCK, nothing if summary.mode.shadow else summary.delivering, thresholds.delivery_hours,
            "{0} not delivered yet, the first waits for {1}; see whether the destination answers",
        ),
        (
            AlertCode.WORKERS_SILENT, summary.silent, thresholds.overdue_hours,
            "{0} held by workers that are silent, the first for {1}; see whether the service runs",
        ),
    ):  # fmt: skip
        if (age := _age(summary, waiting)) > hours * _HOUR:
            yield Alert(code, message.format(counted(waiting.count, "study", "studies"), duration(age)))
    age = 0.0 if summary.mode.shadow else _age(summary, summary.withdrawals)
    if age > thresholds.delivery_hours * _HOUR:
        yield Alert(
            AlertCode.WITHDRAWALS_DUE,
            f"{summary.withdrawals.count} results that no longer count may still be at their destination, the first for "
            f"{duration(age)}; see whether the destination answers",
        )


def _disk(summary: Summary, kept_free_bytes: int) -> Iterator[Alert]:
    if summary.free_bytes < kept_free_bytes:
        yield Alert(
            AlertCode.STORE_FULL,
            f"nothing is taken: {size(summary.free_bytes)} free on the disk, expected {size(kept_free_bytes)}; make "
            "room, and have sent again what was not taken",
        )
    elif summary.free_bytes < 2 * kept_free_bytes:
        yield Alert(
            AlertCode.DISK_LOW,
            f"{size(summary.free_bytes)} free on the disk, expected {size(2 * kept_free_bytes)}; make room, or soon "
            "nothing more is taken",
        )


def _noticed(summary: Summary, thresholds: Thresholds) -> Iterator[Alert]:
    order = list(Kind)
    for notice in sorted(_once(summary.notices), key=lambda one: order.index(one.kind)):
        age = max(0.0, summary.at - notice.since)
        if not notice.passing or age > thresholds.down_hours * _HOUR:
            lasting = f", for {duration(age)}" if age >= _MINUTE else ""
            yield Alert(OF_KIND[notice.kind], f"{notice.name}{lasting}: {notice.message}")


def _once(notices: Sequence[Notice]) -> list[Notice]:
    """The earliest of those with which one part says the same, whatever its task."""
    first: dict[tuple[str, ...], Notice] = {}
    for notice in sorted(notices, key=lambda one: one.since):
        first.setdefault((notice.kind, notice.part, notice.code), notice)
    return sorted(first.values(), key=lambda one: one.name)


def _age(summary: Summary, waiting: Waiting) -> float:
    return 0.0 if waiting.since is None else summary.at - waiting.since
