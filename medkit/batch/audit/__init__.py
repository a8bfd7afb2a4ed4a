"""The audit log: what was done, by whom and when, in lines that show what was changed in them.

What belongs here: writing lines and looking at them. What does not: whom to tell of what was found.
"""

from __future__ import annotations

from medkit.batch.audit.chain import AuditError, Head, Verification
from medkit.batch.audit.log import FIELDS, AuditLog, as_name

__all__ = ["FIELDS", "AuditError", "AuditLog", "Head", "Verification", "as_name"]
