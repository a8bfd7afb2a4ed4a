"""The audit log of a service, looked at beside its work: one that was changed is told, and one that takes no line."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from medkit.batch.audit import AuditError
from medkit.batch.logs import told
from medkit.batch.notices import Kind
from medkit.batch.status.alerts import OF_KIND

if TYPE_CHECKING:
    from collections.abc import Callable

    from medkit.batch.audit import AuditLog, Verification
    from medkit.batch.notices import Notices

__all__ = ["AuditCheck"]

_LOG = logging.getLogger(__name__)
_HOUR, _MINUTE, _SECOND = 3600.0, 60.0, 1.0
_PART = "audit"
_TROUBLES = {Kind.AUDIT: "the audit log was changed: %s", Kind.AUDIT_LINES: "the audit log: %s"}


class AuditCheck:
    """Looks at the whole chain now and then, and each second whether it takes a line; tells as long as it does not.

    Args:
        audit: the log.
        notices: where it is told.
    """

    def __init__(self, audit: AuditLog, notices: Notices) -> None:
        self._audit, self._notices = audit, notices
        self._said: dict[Kind, str] = {}

    @property
    def broken(self) -> str | None:
        """What is wrong with the chain, and what to do, by the last look; ``None`` where it holds."""
        return self._said.get(Kind.AUDIT)

    @property
    def stopped(self) -> str | None:
        """Why the log takes no line, so that nothing is done, and what to do; ``None`` where it takes them."""
        return self._said.get(Kind.AUDIT_LINES)

    def once(self) -> float:
        """Look at all of it, and say what is wrong; seconds until the next time, sooner where it is broken."""
        return self._look(self._audit.check)

    def finish(self) -> None:
        """Look at what came since, at the end of a service, for whose next one the end of the log is left."""
        self._look(self._audit.check_new)

    def watch(self) -> float:
        """See whether the log takes a line, and whether it became shorter; seconds until the next time."""
        try:
            self._audit.take_up()
        except (AuditError, OSError) as error:
            self._say(
                Kind.AUDIT_LINES,
                f"it takes no line, so that no study is taken, made or delivered: {_cause(error)}; when it takes them, "
                "studies go on: have sent again what was not taken meanwhile",
            )
            return _SECOND
        if self.stopped is not None:
            _LOG.info("the audit log takes lines again")
            self._take_back(Kind.AUDIT_LINES)
        if self._audit.shorter and self.broken is None:
            self.once()
        return _SECOND

    def _look(self, check: Callable[[], Verification]) -> float:
        broken = check().broken
        if broken is None:
            self._take_back(Kind.AUDIT)
            return _HOUR
        if self._audit.verify().broken != broken:  # a line was being written
            return _MINUTE
        self._say(
            Kind.AUDIT,
            f"{broken}; {self._what_becomes_of_studies()}. Copy the folder audit/ and find out who changed it; a new "
            "chain begins when the service is stopped, that folder moved away, and the service started again",
        )
        return 10 * _MINUTE

    def _say(self, kind: Kind, message: str) -> None:
        """Put a notice, and a line in the log where it says something else than before."""
        code = OF_KIND[kind]
        if message != self._said.get(kind):
            _LOG.error(_TROUBLES[kind], message, extra=told(code=code))
        self._said[kind] = message
        self._notices.put(kind, _PART, code, message)

    def _take_back(self, kind: Kind) -> None:
        self._said.pop(kind, None)
        self._notices.clear(kind, _PART)

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
