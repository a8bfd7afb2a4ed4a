"""The audit log of a service, looked at beside its work: one that was changed is told, and one that takes no line."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from medkit.batch.audit import AuditError
from medkit.batch.logs import told
from medkit.batch.notices import Kind
from medkit.batch.status.alerts import AlertCode

if TYPE_CHECKING:
    from medkit.batch.audit import AuditLog
    from medkit.batch.notices import Notices

__all__ = ["AuditCheck"]

_LOG = logging.getLogger(__name__)
_HOUR, _MINUTE, _SECOND = 3600.0, 60.0, 1.0
_PART = "audit"


class AuditCheck:
    """Looks at the whole chain now and then, and each second whether it takes a line; tells as long as it does not.

    Args:
        audit: the log.
        notices: where it is told.
    """

    def __init__(self, audit: AuditLog, notices: Notices) -> None:
        self._audit, self._notices = audit, notices
        self._broken: str | None = None
        self._stopped: str | None = None

    @property
    def broken(self) -> str | None:
        """What is wrong with the chain, and what to do, by the last look; ``None`` where it holds."""
        return self._broken

    @property
    def stopped(self) -> str | None:
        """Why the log takes no line, so that nothing is done, and what to do; ``None`` where it takes them."""
        return self._stopped

    def once(self) -> float:
        """Look at all of it, and say what is wrong; seconds until the next time, sooner where it is broken."""
        broken = self._audit.check().broken
        if broken is None:
            self._broken = None
            self._notices.clear(Kind.AUDIT, _PART)
            return _HOUR
        if self._audit.verify().broken != broken:  # a line was being written
            return _MINUTE
        message = (
            f"{broken}; {self._what_becomes_of_studies()}. Copy the folder audit/ and find out who changed it; a new "
            "chain begins when the service is stopped, that folder moved away, and the service started again"
        )
        if message != self._broken:
            _LOG.error("the audit log was changed: %s", message, extra=told(code=AlertCode.AUDIT_BROKEN))
        self._broken = message
        self._notices.put(Kind.AUDIT, _PART, AlertCode.AUDIT_BROKEN, message)
        return 10 * _MINUTE

    def watch(self) -> float:
        """See whether the log takes a line, and whether it became shorter; seconds until the next time."""
        try:
            self._audit.take_up()
        except (AuditError, OSError) as error:
            message = (
                f"it takes no line, so that no study is taken, made or delivered: {_cause(error)}; when it takes them, "
                "studies go on: have sent again what was not taken meanwhile"
            )
            if message != self._stopped:
                _LOG.error("the audit log: %s", message, extra=told(code=AlertCode.AUDIT_STOPPED))
            self._stopped = message
            self._notices.put(Kind.AUDIT_LINES, _PART, AlertCode.AUDIT_STOPPED, message)
            return _SECOND
        if self._stopped is not None:
            _LOG.info("the audit log takes lines again")
            self._stopped = None
            self._notices.clear(Kind.AUDIT_LINES, _PART)
        if self._audit.shorter and self._broken is None:
            self.once()
        return _SECOND

    def _what_becomes_of_studies(self) -> str:
        try:
            self._audit.take_up()
        except (AuditError, OSError):
            return "no line can follow, so that studies are neither taken any more nor noted as delivered"
        return "studies go on"


def _cause(error: AuditError | OSError) -> str:
    if isinstance(error, AuditError):
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or type(error).__name__}; look at the disk, and who may write there"
