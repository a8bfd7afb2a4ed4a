"""Withdraw objects of earlier revisions, which must not stand beside the later ones."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from medkit.batch.delivery.destinations import Made
from medkit.batch.delivery.troubles import Trouble, asking, find_destination
from medkit.batch.ledger import IllegalTransition
from medkit.batch.logs import told
from medkit.dicom.objects import read_uids
from medkit.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from medkit.batch.audit import AuditLog
    from medkit.batch.delivery.destinations import Destination
    from medkit.batch.ledger import Ledger, Withdrawal

__all__ = ["withdraw_due"]

_LOG = logging.getLogger(__name__)


def withdraw_due(
    ledger: Ledger,
    destinations: Mapping[str, Destination],
    results_folder: Path,
    audit: AuditLog,
    study: str | None = None,
) -> list[Trouble]:
    """Withdraw all that is due: of one study before its later results are sent, or of all, refused studies included.

    Args:
        ledger: which; see :meth:`medkit.batch.ledger.Ledger.withdrawals`.
        destinations: by name.
        results_folder: to which the paths in the ledger are relative.
        audit: is told of each object, before the ledger is.
        study: its hash; all studies where this is ``None``.

    Returns:
        What could not be withdrawn, and why; it stays due.
    """
    troubles: list[Trouble] = []
    tried: set[Withdrawal] = set()
    # Asked anew for each: meanwhile a later revision may have become one that keeps the object.
    while left := [due for due in ledger.withdrawals(study) if due not in tried]:
        due = left[0]
        tried.add(due)
        try:
            _withdraw(due, ledger, destinations, results_folder, audit)
        except Trouble as trouble:
            trouble.destination = due.destination
            troubles.append(trouble)
    return troubles


def _withdraw(
    due: Withdrawal,
    ledger: Ledger,
    destinations: Mapping[str, Destination],
    results_folder: Path,
    audit: AuditLog,
) -> None:
    destination = find_destination(destinations, due.destination)
    paths = [results_folder / path for path in ledger.result_paths(due.study, due.uid)]
    there = next((path for path in paths if path.is_file()), None)
    made = Made(due.uid, there or paths[0], "" if there else _study_uid(due, ledger, results_folder))
    try:
        ledger.withdrawing(due.study, due.uid, due.destination)
    except IllegalTransition:
        return  # a later revision came meanwhile
    with asking(destination):
        destination.withdraw(made)
    audit.append("object-withdrawn", study=due.study, uid=due.uid, destination=due.destination)
    fields = told(study=due.study, uid=due.uid, destination=due.destination)
    _LOG.info("a result that no longer counts was withdrawn", extra=fields)
    try:
        ledger.withdrawn(due.study, due.uid, due.destination)
    except IllegalTransition:
        return  # another worker did so too


def _study_uid(due: Withdrawal, ledger: Ledger, results_folder: Path) -> str:
    """Study Instance UID of any other result of a study; empty where no file of one is left."""
    for revision in range(ledger.study(due.study).revision, 0, -1):
        for other in ledger.results(due.study, revision):
            with suppress(CaseError):
                return read_uids(results_folder / other.path).study
    return ""
