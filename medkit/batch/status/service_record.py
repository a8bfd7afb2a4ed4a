"""What a service leaves in the batch's folder for who looks at it: when it calls a person, and whether it ended well.

The file stays when the service is gone, so that ``medkit batch status`` goes by the same as the page did.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from medkit.batch.folder import ServiceState
from medkit.batch.hours import parse_hours
from medkit.batch.spool import SpoolLimits
from medkit.batch.status.alerts import Thresholds, alerts
from medkit.data.writing import write_text
from medkit.errors import UsageError

if TYPE_CHECKING:
    from medkit.batch.folder import JobFolder
    from medkit.batch.status.alerts import Alert
    from medkit.batch.status.summary import Summary

__all__ = ["ServiceRecord", "service_alerts", "service_state"]


@dataclass(frozen=True)
class ServiceRecord:
    """The service that works on a batch, or that did so last.

    Args:
        thresholds: when it calls a person.
        kept_free_bytes: on the disk; below it, the store takes no more.
        began: when it did, seconds since 1970; ``None`` where none is known.
        ended: when it let go of the folder in good order; ``None`` before that.
    """

    thresholds: Thresholds = field(default_factory=Thresholds)
    kept_free_bytes: int = SpoolLimits.free_bytes
    began: float | None = None
    ended: float | None = None

    @classmethod
    def read(cls, job: JobFolder) -> ServiceRecord:
        """That of a batch; the defaults where no service left one that can be read."""
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError, UsageError):
            given = json.loads(job.service.read_text(encoding="utf-8"))
            thresholds = given.pop("thresholds")
            expected = parse_hours(thresholds.pop("expected"))
            return cls(Thresholds(**thresholds, expected=expected), **given)
        return cls()

    def write(self, job: JobFolder) -> None:
        """Leave it in the folder of a batch. A disk that takes nothing more stops nobody."""
        content = asdict(self)
        content["thresholds"]["expected"] = str(self.thresholds.expected)
        with suppress(OSError):
            write_text(job.service, json.dumps(content, indent=2) + "\n")


def service_state(job: JobFolder) -> ServiceState:
    """Whether a service works on a batch now, and how the last one ended.

    One on a file system that knows no locks is taken to run.
    """
    if job.is_held():
        return ServiceState.RUNNING
    last = ServiceRecord.read(job)
    return ServiceState.STOPPED if last.began is None or last.ended is not None else ServiceState.KILLED


def service_alerts(job: JobFolder, summary: Summary, silent_hours: float | None = None) -> list[Alert]:
    """What the service of a batch tells a person, or would tell where none runs now: it goes by what the last one left.

    That nothing comes is told where a service runs, or where somebody asks.

    Args:
        job: folder of the batch.
        summary: how the batch stands.
        silent_hours: tell that nothing came for so long, whatever the service goes by.
    """
    record, runs = ServiceRecord.read(job), summary.service is ServiceState.RUNNING
    if silent_hours is None and runs:
        silent_hours = record.thresholds.silent_hours
    thresholds = replace(record.thresholds, silent_hours=silent_hours)
    return alerts(summary, thresholds, record.began if runs else None, record.kept_free_bytes)
