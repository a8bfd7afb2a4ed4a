"""The status as JSON, laid down in ``medkit/schemas/batch_status.schema.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medkit import __version__
from medkit.batch.status.words import moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from medkit.batch.ledger import StudyRecord, Waiting
    from medkit.batch.status.alerts import Alert
    from medkit.batch.status.summary import Flow, Summary

__all__ = ["status_document", "study_documents"]


def status_document(summary: Summary, alerts: Sequence[Alert]) -> dict[str, Any]:
    """How a batch stands, for machines."""
    return {
        "medkit": __version__,
        "at": moment(summary.at),
        "well": not alerts,
        "service": summary.service,
        "shadow": summary.shadow,
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


def _flow(flow: Flow) -> dict[str, Any]:
    last = None if flow.last is None else moment(flow.last)
    return {"last": last, "last_hour": flow.last_hour, "last_day": flow.last_day}


def _waiting(waiting: Waiting) -> dict[str, Any]:
    return {"count": waiting.count, "since": None if waiting.since is None else moment(waiting.since)}
