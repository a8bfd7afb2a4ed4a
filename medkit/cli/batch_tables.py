"""A batch for people: tables of how it stands, of studies, and of what became of one."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from medkit.batch.folder import ServiceState
from medkit.batch.ledger import State
from medkit.batch.status.alerts import AlertCode
from medkit.batch.status.not_taken import Missed, missed_of
from medkit.batch.status.words import duration, moment, size
from medkit.cli.consoles import print_whole, table_console

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from medkit.batch.ledger import Entry, Result, StudyRecord, Waiting
    from medkit.batch.marks import Mark
    from medkit.batch.status.alerts import Alert
    from medkit.batch.status.summary import Flow, Summary

__all__ = ["print_history", "print_marks", "print_results", "print_status", "print_studies"]

_OWN = ("door", "store", "count")  # owners of marks that are parts of a service, and no source
_CLAIM_PARTS = 3  # of a result's path: study, revision and attempt; then come bundle and file
_DIGITS = 12  # of a study's hash; commands take any beginning that is one study's alone


def print_status(summary: Summary, alerts: Sequence[Alert]) -> None:
    """Print how a batch stands."""
    console = table_console()
    for alert in alerts:
        console.print(f"[bold red]{alert.code}[/]  {escape(alert.message)}")
    if not alerts:
        console.print("[green]well[/]  nothing for a person to do")
    if summary.service is not ServiceState.RUNNING and not any(
        alert.code is AlertCode.NO_SERVICE for alert in alerts
    ):
        console.print("no service runs on this folder")
    if summary.mode.shadow:
        console.print("shadow: results are made, and none is sent")
    if summary.mode.about:
        console.print(f"results are about nobody ({summary.mode.dates})")
    _print_counts(console, summary)
    _print_timings(console, summary)
    if summary.reasons:
        table = Table("reason", "state", "studies")
        for reason in summary.reasons:
            table.add_row(reason.code, reason.state, str(reason.count))
        console.print(table)
    if summary.troubled:
        print_studies(summary.troubled, summary.at)


def print_studies(studies: Iterable[StudyRecord], now: float) -> None:
    """Print one study a line."""
    table = Table("study", "state", "since", "instances", "attempts", "why")
    for one in studies:
        state = (
            f"{one.state}, more arrives" if one.arriving and one.state is not State.RECEIVING else one.state
        )
        why = ": ".join(part for part in (one.code, one.reason) if part)
        instances = f"{one.instances}, purged" if one.purged and not one.arriving else str(one.instances)
        table.add_row(
            one.study[:_DIGITS], state, duration(now - one.since), instances, str(one.attempts), escape(why)
        )  # fmt: skip
    table_console().print(table)


def print_history(entries: Iterable[Entry], *, studies: bool) -> None:
    """Print one line of the journal a line.

    Args:
        entries: lines of the journal.
        studies: whether they are of several.
    """
    table = Table("time (UTC)", *(["study"] if studies else []), "revision", "from", "to", "by", "why")
    for entry in entries:
        why = ": ".join(part for part in (entry.code, entry.reason) if part)
        study = [entry.study[:_DIGITS]] if studies else []
        revision = str(entry.revision or "")
        table.add_row(
            moment(entry.at), *study, revision, entry.before or "", entry.after, escape(entry.actor), escape(why)
        )  # fmt: skip
    print_whole(table)


def print_results(results: Iterable[Result]) -> None:
    """Print one object and destination a line."""
    table = Table("object", "file", "destination", "on its way", "delivered", "read back", "withdrawn")
    for result in results:
        times = (result.sending_at, result.delivered_at, result.verified_at, result.withdrawn_at)
        table.add_row(
            result.uid,
            escape("/".join(result.path.split("/")[_CLAIM_PARTS:])),
            escape(result.destination),
            *("" if time is None else moment(time) for time in times),
        )
    print_whole(table)


def print_marks(marks: Iterable[Mark], lifted: Iterable[Mark], conflicts: Iterable[str]) -> None:
    """Print what is missed of a study, or is there twice, one mark or instance a line; nothing where there is none.

    Args:
        marks: those with which it is not whole.
        lifted: those without which it is, for a person said so.
        conflicts: hashes of the instances that came with several contents.
    """
    table = Table("what is missed", "why", "says who", "")
    for found, so in ((marks, "not whole"), (lifted, "whole without it, as a person said")):
        for mark in found:
            kind = missed_of(mark)
            what = f"{kind} {mark.name[:_DIGITS]}" if kind.is_named else kind
            who = mark.caller or ("medkit" if mark.owner in _OWN else mark.owner)
            table.add_row(what, mark.code, escape(who), so)
    for instance in conflicts:
        what = f"{Missed.INSTANCE} {instance[:_DIGITS]}"
        table.add_row(what, "conflict", "instance-conflict in the audit log", "came with several contents")
    if table.row_count:
        print_whole(table)


def _print_counts(console: Console, summary: Summary) -> None:
    table = Table("state", "studies", "", "")
    facts = [
        ("service", summary.service),
        ("last instance came", _ago(summary, summary.arrivals)),
        ("last study delivered", _ago(summary, summary.deliveries)),
        ("in the last hour", _rates(summary.arrivals.last_hour, summary.deliveries.last_hour)),
        ("in the last day", _rates(summary.arrivals.last_day, summary.deliveries.last_day)),
        ("being received", _waiting(summary, summary.receiving, again=summary.received_again)),
        ("to be made", _waiting(summary, summary.making)),
        (
            "made, not to be sent" if summary.mode.shadow else "to be delivered",
            _waiting(summary, summary.delivering),
        ),
        ("held by silent workers", _waiting(summary, summary.silent)),
        ("objects to withdraw", _waiting(summary, summary.withdrawals)),
        ("free on the disk", f"{size(summary.free_bytes)} of {size(summary.total_bytes)}"),
    ]
    counts = [(str(state), str(count)) for state, count in summary.counts.items()]
    for (state, count), (name, value) in zip_longest(counts, facts, fillvalue=("", "")):
        table.add_row(state, count, name, value)
    console.print(table)


def _print_timings(console: Console, summary: Summary) -> None:
    if summary.timings:
        table = Table("part of the work", "mean", "longest", "times")
        for name, timing in summary.timings.items():
            mean = duration(timing.total_seconds / timing.count)
            table.add_row(escape(name), mean, duration(timing.longest_seconds), str(timing.count))
        console.print(table)


def _ago(summary: Summary, flow: Flow) -> str:
    return "never" if flow.last is None else f"{duration(summary.at - flow.last)} ago"


def _rates(arrived: int, delivered: int) -> str:
    return f"{arrived} arrivals, repeats too; {delivered} deliveries"


def _waiting(summary: Summary, waiting: Waiting, again: int = 0) -> str:
    before = f", {again} of them again" if again else ""
    age = "" if waiting.since is None else f", the first for {duration(summary.at - waiting.since)}"
    return f"{waiting.count}{before}{age}"
