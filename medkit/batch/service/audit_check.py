"""The audit log of a service, checked beside its work: one that was changed is told, and whether studies go on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from medkit.batch.audit import AuditError
from medkit.batch.logs import told
from medkit.batch.notices import Kind

if TYPE_CHECKING:
    from medkit.batch.audit import AuditLog
    from medkit.batch.notices import Notices

__all__ = ["AuditCheck"]

_LOG = logging.getLogger(__name__)
_DAY, _MINUTE = 86400.0, 60.0
_CODE = "chain-broken"


class AuditCheck:
    """Looks at the whole chain at the start of a service and once a day, and tells as long as it does not hold.

    Args:
        audit: the log.
        notices: where it is told.
    """

    def __init__(self, audit: AuditLog, notices: Notices) -> None:
        self._audit, self._notices = audit, notices

    def once(self) -> float:
        """Look, and say what is wrong; seconds until the next time."""
        broken = self._audit.check().broken
        if broken is None:
            self._notices.clear(Kind.AUDIT, "audit")
            return _DAY
        if self._audit.verify().broken != broken:  # a line was being written
            return _MINUTE
        _LOG.error("the audit log was changed: %s", broken, extra=told(code=_CODE))
        message = (
            f"{broken}; {self._what_becomes_of_studies()}. Copy the folder audit/ and find out who changed it; a new "
            "chain begins when the service is stopped, that folder moved away, and the service started again"
        )
        self._notices.put(Kind.AUDIT, "audit", _CODE, message)
        return _DAY

    def _what_becomes_of_studies(self) -> str:
        try:
            self._audit.take_up()
        except AuditError:
            return "no line can follow, so that studies are neither taken any more nor noted as delivered"
        return "studies go on"
