"""The status as JSON, laid down in ``medkit/schemas/batch_status.schema.json``, and what became of studies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medkit import __version__
from medkit.batch.status.not_taken import missed_of
from medkit.batch.status.words import moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from medkit.batch.ledger import Entry, Result, StudyRecord, Waiting
    from medkit.batch.marks import Mark
    from medkit.batch.status.alerts import Alert
    from medkit.batch.status.summary import Flow, Summary

__all__ = [
    "history_documents",
    "mark_documents",
    "result_documents",
    "status_document",
    "study_documents",
]


def status_document(summary: Summary, alerts: Sequence[Alert]) -> dict[str, Any]:
    """How a batch stands, for machines."""
    return {
        "medkit": __version__,
        "at": moment(summary.at),
        "well": not alerts,
        "service": summary.service,
        "shadow": summary.mode.shadow,
        "about_nobody": summary.mode.dates,
        "alerts": [{"code": alert.code, "message": alert.message} for alert in alerts],
        "studies": dict(summary.counts),
        "arrivals": _flow(summary.arrivals),
        "deliveries": _flow(summary.deliveries),
        "receiving": _waiting(summary.receiving),
        "making": _waiting(summary.making),
        "delivering": _waiting(summary.delivering),
        "silent_workers": _waiting(summary.silent),
        "withdrawals": _waiting(summary.withdrawals),
        "stages": {
            name: {
                "count": timing.count,
                "mean_seconds": round(timing.total_seconds / timing.count, 3),
                "longest_seconds": round(timing.longest_seconds, 3),
            }
            for name, timing in summary.timings.items()
        },
        "reasons": [
            {
                "state": reason.state,
                "code": reason.code,
                "count": reason.count,
                "latest": moment(reason.latest),
            }
            for reason in summary.reasons
        ],
        "troubled": study_documents(summary.troubled),
        "latest": study_documents(summary.latest),
        "disk": {"free_bytes": summary.free_bytes, "total_bytes": summary.total_bytes},
    }


def study_documents(studies: Iterable[StudyRecord]) -> list[dict[str, Any]]:
    """Studies, for machines."""
    return [
        {
            "study": study.study,
            "state": study.state,
            "since": moment(study.since),
            "arriving": study.arriving,
            "revision": study.revision,
            "instances": study.instances,
            "attempts": study.attempts,
            "worker": study.owner,
            "code": study.code,
            "reason": study.reason,
            "purged": study.purged,
        }
        for study in studies
    ]


def history_documents(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Lines of the journal, for machines."""
    return [
        {
            "at": moment(entry.at),
            "study": entry.study,
            "revision": entry.revision,
            "from": entry.before,
            "to": entry.after,
            "by": entry.actor,
            "code": entry.code,
            "reason": entry.reason,
        }
        for entry in entries
    ]


def result_documents(results: Iterable[Result], revision: int) -> list[dict[str, Any]]:
    """Objects of a revision at their destinations, for machines."""
    return [
        {
            "revision": revision,
            "uid": result.uid,
            "path": result.path,
            "destination": result.destination,
            "sha256": result.sha256,
            "on_its_way": _moment(result.sending_at),
            "delivered": _moment(result.delivered_at),
            "read_back": _moment(result.verified_at),
            "withdrawn": _moment(result.withdrawn_at),
        }
        for result in results
    ]


def mark_documents(marks: Iterable[Mark], *, lifted: bool) -> list[dict[str, Any]]:
    """What is missed of a study, for machines: ``what`` says whether ``not_taken`` is an instance, a file or neither.

    Args:
        marks: which.
        lifted: a person said that the study is whole without it.
    """
    return [
        {
            "what": missed_of(mark),
            "not_taken": mark.name,
            "code": mark.code,
            "by": mark.caller or mark.owner,
            "lifted": lifted,
        }
        for mark in marks
    ]


def _flow(flow: Flow) -> dict[str, Any]:
    return {"last": _moment(flow.last), "last_hour": flow.last_hour, "last_day": flow.last_day}


def _waiting(waiting: Waiting) -> dict[str, Any]:
    return {"count": waiting.count, "since": _moment(waiting.since)}


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else moment(seconds)
