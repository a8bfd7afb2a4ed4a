"""Deliver the results of a study: withdraw what was there before, send, read back, compare, and only then say so.

Before an object leaves, the ledger notes that it may; so after a crash the destination is asked whether it has the
object, and nothing is sent twice. An object counts as sent when it was found there, not when its destination said so: an
archive that takes its time to show it is asked again for an hour, and one that has lost it then gets it again.
"""

from __future__ import annotations

import logging
import time
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING, NoReturn

from medkit.batch.delivery.destinations import Made
from medkit.batch.delivery.heartbeat import Heartbeat
from medkit.batch.delivery.troubles import (
    NOT_SHOWN,
    WAITING,
    Trouble,
    asking,
    find_destination,
    worst,
)
from medkit.batch.delivery.withdrawing import withdraw_due
from medkit.batch.ledger import IllegalTransition, LeaseLost, State
from medkit.batch.logs import told
from medkit.dicom.network.content import content_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from medkit.batch.audit import AuditLog
    from medkit.batch.delivery.destinations import Destination
    from medkit.batch.ledger import Claim, Ledger, Result

__all__ = ["DELIVER", "Outcome", "content_on_disk", "deliver"]

_LOG = logging.getLogger(__name__)
DELIVER = "deliver"
"""Under which the ledger keeps what the delivery of a study took, from its claim to the last object read back."""
_SHOWN_WITHIN = 3600.0  # seconds that an archive may take to show what it has taken


class Outcome(StrEnum):
    """How a delivery ended."""

    DELIVERED = "delivered"
    GIVEN_BACK = "given-back"
    FAILED = "failed"
    LOST = "lost"


def deliver(
    claim: Claim,
    ledger: Ledger,
    destinations: Mapping[str, Destination],
    results_folder: Path,
    audit: AuditLog,
    clock: Callable[[], float] = time.time,
    together: int = 20,
) -> Outcome:
    """Deliver the results of a claimed study, and log how that ended; its lease is kept alive meanwhile.

    A destination that does not answer, or does not show yet what it took, does not keep the others from their objects;
    the study is then given back, without counting the attempt, for longer each time. Whatever else goes wrong is a
    failed attempt.

    Args:
        claim: for :attr:`medkit.batch.ledger.Stage.DELIVER`.
        ledger: which.
        destinations: by name.
        results_folder: to which the paths in the ledger are relative.
        audit: is told of each step before the ledger is.
        clock: the ledger's.
        together: how many objects are sent at once. To send these may not take longer than the lease.

    Raises:
        LedgerError: the ledger cannot be written; the lease then runs out.
        AuditError, OSError: the audit log cannot be written; the same.
    """
    delivery = _Delivery(claim, ledger, destinations, results_folder, audit, clock, together)
    try:
        with Heartbeat(ledger, claim) as beat:
            return delivery.run(beat)
    except LeaseLost:
        delivery.take_back_strays()
        audit.append("delivery-lost", study=claim.study, revision=claim.revision)
        return delivery.ended(Outcome.LOST)


def content_on_disk(path: Path) -> str | None:
    """Hash of a result's content; ``None`` where there is none that can be read."""
    try:
        return content_hash(path)
    except Exception:  # whatever pydicom meets in a damaged file
        return None


class _Delivery:
    """One study on its way; see :func:`deliver` for the arguments."""

    def __init__(
        self,
        claim: Claim,
        ledger: Ledger,
        destinations: Mapping[str, Destination],
        results_folder: Path,
        audit: AuditLog,
        clock: Callable[[], float],
        together: int,
    ) -> None:
        self._claim, self._ledger, self._destinations = claim, ledger, destinations
        self._results, self._audit, self._clock, self._together = results_folder, audit, clock, together
        self._begun = time.perf_counter()
        self._on_their_way: list[Result] = []

    def run(self, beat: Heartbeat) -> Outcome:
        """Deliver, or say why not."""
        study, revision = self._claim.study, self._claim.revision
        troubles = withdraw_due(self._ledger, self._destinations, self._results, self._audit, study)
        if not troubles:
            results = sorted(self._ledger.results(study, revision), key=lambda one: one.destination)
            for name, group in groupby(results, key=lambda one: one.destination):
                try:
                    self._deliver_to(name, list(group), beat)
                except Trouble as trouble:
                    trouble.destination = name
                    troubles.append(trouble)
        if troubles:
            return self._stop(worst(troubles))
        self._audit.append("study-delivered", study=study, revision=revision)
        self._ledger.timed(self._claim, DELIVER, time.perf_counter() - self._begun)
        self._ledger.delivered(self._claim)
        return self.ended(Outcome.DELIVERED)

    def ended(self, outcome: Outcome, trouble: Trouble | None = None) -> Outcome:
        """Log how the delivery ended, and give it."""
        fields = told(
            study=self._claim.study,
            outcome=outcome,
            destination=trouble and trouble.destination,
            code=trouble and trouble.code,
            reason=trouble and str(trouble),
            attempt=self._claim.attempt,
            seconds=round(time.perf_counter() - self._begun, 3),
        )
        level = logging.INFO if outcome is Outcome.DELIVERED else logging.WARNING
        _LOG.log(level, "study ended its delivery", extra=fields)
        return outcome

    def take_back_strays(self) -> None:
        """Withdraw what was sent while the study was superseded, where others have done so before it arrived."""
        for one in self._on_their_way:
            try:
                self._ledger.withdrawing(self._claim.study, one.uid, one.destination)
            except IllegalTransition:
                continue  # it counts, or will be withdrawn in time
            destination = self._destinations[one.destination]
            try:
                with asking(destination):
                    destination.withdraw(self._made(one))
            except Trouble as trouble:
                self._tell("stray-left", one, code=trouble.code)
            else:
                self._tell("stray-withdrawn", one)

    def _deliver_to(self, name: str, results: list[Result], beat: Heartbeat) -> None:
        destination = find_destination(self._destinations, name)
        waits = self._last_code() == NOT_SHOWN
        unsent, unseen = [], False
        for result in results:
            if result.verified_at is not None:
                continue
            if result.sending_at is None or not self._is_there(destination, result):
                if result.delivered_at is not None:
                    raise Trouble(
                        "result-gone",
                        f"{name}: expected an object that was there, got none; ask who removed it",
                    )
                if waits and result.sending_at is not None:
                    unseen = True
                    self._check_shown_in_time(destination, result.sending_at)
                else:
                    unsent.append(result)
        for first in range(0, len(unsent), self._together):
            self._send(destination, unsent[first : first + self._together], beat)
        if unseen:
            self._raise_not_shown(destination)

    def _send(self, destination: Destination, results: list[Result], beat: Heartbeat) -> None:
        for result in results:
            self._check_file(result)
        for result in results:
            self._tell("object-sending", result)
            self._ledger.sending(self._claim, result.uid, destination.name)
        if self._clock() >= beat.renew().until:
            raise LeaseLost(f"study {self._claim.study}: its lease ran out before anything was sent")
        self._on_their_way = results
        with asking(destination):
            answers = destination.send([self._made(result) for result in results])
        missing = [result for result in results if not self._is_there(destination, result)]
        self._on_their_way = []
        if missing:
            self._raise_for(destination, (answers.get(one.uid, "it said nothing") for one in missing))

    def _raise_for(self, destination: Destination, answers: Iterable[str | None]) -> None:
        if refused := [answer for answer in answers if answer is not None]:
            raise Trouble("object-refused", f"{destination.name}: {refused[0]}")
        self._raise_not_shown(destination)

    def _raise_not_shown(self, destination: Destination) -> NoReturn:
        raise Trouble(
            NOT_SHOWN, f"{destination.name}: expected an object to be there after it was taken, got none yet"
        )

    def _check_shown_in_time(self, destination: Destination, sent: float) -> None:
        if self._clock() - sent >= _SHOWN_WITHIN:
            raise Trouble(
                "not-read-back",
                f"{destination.name}: expected an object to be there an hour after it was taken, got none",
            )

    def _is_there(self, destination: Destination, result: Result) -> bool:
        """Whether a destination has an object, and the one that was made; the ledger is told so."""
        with asking(destination):
            there = destination.read_back(self._made(result))
        if there is None:
            return False
        if there != result.sha256:
            raise Trouble(
                "read-back-differs",
                f"{destination.name}: expected the object that was made under its UID, got another content",
            )
        if result.delivered_at is None:
            self._ledger.sent(self._claim, result.uid, result.destination)
        self._tell("object-verified", result, digest=there)
        self._ledger.verified(self._claim, result.uid, result.destination, there)
        return True

    def _check_file(self, result: Result) -> None:
        """Nothing leaves that is not what was made."""
        found = content_on_disk(self._results / result.path) or "none that can be read"
        if found != result.sha256:
            raise Trouble(
                "result-damaged",
                f"expected the result that was made on disk, with {result.sha256}, got {found}; look at the disk",
            )

    def _stop(self, trouble: Trouble) -> Outcome:
        """Give the study back, or fail."""
        reason = str(trouble)
        what: dict[str, str | int] = {"study": self._claim.study, "revision": self._claim.revision}
        what["code"] = trouble.code
        if trouble.code in WAITING:
            self._audit.append("delivery-waits", **what)
            self._ledger.give_back(self._claim, trouble.code, reason, self._delay())
            return self.ended(Outcome.GIVEN_BACK, trouble)
        self._audit.append("delivery-failed", **what)
        self._ledger.fail(self._claim, trouble.code, reason)
        return self.ended(Outcome.FAILED, trouble)

    def _delay(self) -> float:
        """Twice as long with each time that it waited."""
        times = 1
        for entry in reversed(self._ledger.history(self._claim.study)):
            if entry.after is State.MADE and entry.code in WAITING:
                times += 1
            elif entry.after is not State.DELIVERING:
                break
        return self._ledger.policy.delay(times)

    def _last_code(self) -> str | None:
        """Why the study came back the last time that it was delivered."""
        for entry in reversed(self._ledger.history(self._claim.study)):
            if entry.after is not State.DELIVERING:
                return entry.code
        return None

    def _made(self, result: Result) -> Made:
        return Made(result.uid, self._results / result.path)

    def _tell(self, event: str, result: Result, **more: str) -> None:
        self._audit.append(
            event,
            study=self._claim.study,
            revision=self._claim.revision,
            uid=result.uid,
            destination=result.destination,
            **more,
        )
