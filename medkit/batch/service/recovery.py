"""What becomes of the studies of a worker that is no more: at once, and not when their leases run out.

A study that kills its worker is tried again alone, so that after some attempts it is quarantined by itself, and none of
those that were beside it.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medkit.batch.ledger import LeaseLost, Ledger
from medkit.batch.logs import told

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from medkit.batch.ledger import Policy
    from medkit.batch.service.flights import Flight, Hands

__all__ = ["DIED", "Death", "recover", "service_name", "too_slow"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Death:
    """Why a worker is no more.

    Args:
        code: in kebab case.
        reason: one line for a person.
        blamed: the studies whose fault it was, where that is known; else those that may have been it.
    """

    code: str
    reason: str
    blamed: Collection[str] | None = None


DIED = Death(
    "worker-died", "expected a worker that goes on, got one that was killed or crashed; see the system's log"
)


def too_slow(seconds: float, blamed: Collection[str] | None = None) -> Death:
    """Of a worker that was ended since a stage of a study took more than so many seconds."""
    return Death(
        "too-slow",
        f"expected each stage to be done in {seconds:g} seconds, got more; raise the limit if it is right",
        blamed,
    )


def service_name() -> str:
    """By which ledger and audit log know this process."""
    return f"service-{os.getpid()}"


def recover(hands: Hands, ledger_path: Path, policy: Policy, death: Death = DIED) -> None:
    """Give back what a dead worker had; what may have killed it counts as tried.

    Args:
        hands: what the worker had written down. The file is removed.
        ledger_path: file of the ledger, whose leases are the worker's, and whose journal names this process.
        policy: of the ledger.
        death: why it is no more.

    Raises:
        LedgerError: the ledger cannot be written; the file stays.
    """
    blamed = {flight.claim.study for flight in hands.suspects()} if death.blamed is None else death.blamed
    with Ledger(ledger_path, hands.owner, policy, actor=service_name()) as ledger:
        for flight in hands.flights:
            _release(ledger, flight, death, guilty=flight.claim.study in blamed)
    hands.path.unlink(missing_ok=True)


def _release(ledger: Ledger, flight: Flight, death: Death, *, guilty: bool) -> None:
    claim = flight.claim
    try:
        if guilty:
            state = ledger.fail(claim, death.code, death.reason)
        else:
            state = claim.stage.back
            ledger.give_back(claim, "worker-gone", "its worker ended, which was not its fault")
    except LeaseLost:
        return  # its lease ran out, or it was told how the study ended and died before it could write that down
    _LOG.warning(
        "study of a worker that is no more",
        extra=told(study=claim.study, state=state, code=death.code if guilty else None),
    )
