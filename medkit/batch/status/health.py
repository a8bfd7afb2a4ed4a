"""Whether a batch can do its work, for whoever starts and stops it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medkit.batch.status.alerts import AlertCode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from medkit.batch.status.alerts import Alert

__all__ = ["not_ready"]

_STOPPED = (AlertCode.NO_SERVICE, AlertCode.WORKERS_SILENT, AlertCode.STORE_FULL, AlertCode.AUDIT_STOPPED)


def not_ready(alerts: Iterable[Alert]) -> list[str]:
    """Why studies would not be taken and worked on now; nothing where all is ready.

    A quarantined study or an archive that does not answer is no reason: a service that is started anew would not mend
    that.
    """
    return [alert.message for alert in alerts if alert.code in _STOPPED]
