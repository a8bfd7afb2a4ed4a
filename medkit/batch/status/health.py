"""Whether a batch can do its work, for whoever starts and stops it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medkit.batch.spool import SpoolLimits
from medkit.batch.status.alerts import AlertCode
from medkit.batch.status.words import size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medkit.batch.status.alerts import Alert
    from medkit.batch.status.summary import Summary

__all__ = ["not_ready"]

_NOBODY_WORKS = (AlertCode.NO_SERVICE, AlertCode.WORKERS_SILENT)


def not_ready(
    summary: Summary, alerts: Sequence[Alert], free_bytes: int = SpoolLimits.free_bytes
) -> list[str]:
    """Why studies would not be taken and worked on now; nothing where all is ready.

    A quarantined study or an archive that does not answer is no reason: a service that is started anew would not mend
    that.

    Args:
        summary: how the batch stands.
        alerts: what is to be looked at.
        free_bytes: below it, the store takes no more.
    """
    found = [alert.message for alert in alerts if alert.code in _NOBODY_WORKS]
    if summary.free_bytes < free_bytes:
        found.append(
            f"nothing is taken: {size(summary.free_bytes)} free on the disk, expected {size(free_bytes)}; make room"
        )
    return found
