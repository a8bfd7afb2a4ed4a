"""The ledger: every study's state, attempts, leases, reasons, results and timings, in one file of SQLite.

What belongs here: what must be true after any crash. What does not: the work itself, and files of studies.
"""

from __future__ import annotations

from medkit.batch.ledger.ledger import Arrival, Ledger
from medkit.batch.ledger.moves import Claim, Policy
from medkit.batch.ledger.records import (
    Entry,
    Mode,
    Reason,
    Result,
    StudyRecord,
    Timing,
    Waiting,
    Withdrawal,
)
from medkit.batch.ledger.states import (
    PARTLY_REFUSED,
    SET_ASIDE,
    SOURCE_PURGED,
    IllegalTransition,
    LeaseLost,
    LedgerError,
    Stage,
    State,
)
from medkit.batch.ledger.view import LedgerView

__all__ = [
    "PARTLY_REFUSED",
    "SET_ASIDE",
    "SOURCE_PURGED",
    "Arrival",
    "Claim",
    "Entry",
    "IllegalTransition",
    "LeaseLost",
    "Ledger",
    "LedgerError",
    "LedgerView",
    "Mode",
    "Policy",
    "Reason",
    "Result",
    "Stage",
    "State",
    "StudyRecord",
    "Timing",
    "Waiting",
    "Withdrawal",
]
