"""What every worker does, whatever makes its studies: it claims them, keeps their leases, ends and delivers them.

How a claimed study is made is the subclass's: in the stages of this process, or on a cluster.
"""

from __future__ import annotations

import logging
import os
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Lock, Semaphore, Thread
from typing import TYPE_CHECKING, Generic, TypeVar

from medkit.batch.audit import AuditError, as_name
from medkit.batch.delivery.deliver import DELIVER, deliver
from medkit.batch.delivery.heartbeat import Heartbeat
from medkit.batch.ledger import Claim, LeaseLost, LedgerError, Stage, State
from medkit.batch.logs import told
from medkit.batch.making import Ended, finish
from medkit.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from medkit.batch.audit import AuditLog
    from medkit.batch.delivery.destinations import Destination
    from medkit.batch.making import KnownBundle, MakingContext, StudyWritten
    from medkit.batch.service.flights import FlightBoard

__all__ = ["Carried", "Carrier"]

_LOG = logging.getLogger(__name__)
_IDLE_SECONDS = 1.0
_BREATH_SECONDS = 0.01  # in which another thread gets the lock
_PAUSE_SECONDS = 10.0  # after a disk or ledger that could not be written
_Cargo = TypeVar("_Cargo")
_Done = TypeVar("_Done")


@dataclass(frozen=True, eq=False)
class Carried(Generic[_Cargo]):
    """A study in a worker's hands; its lease is kept alive meanwhile."""

    claim: Claim
    beat: Heartbeat
    begun: float
    cargo: _Cargo

    def with_cargo(self, cargo: _Done) -> Carried[_Done]:
        """The same study with what was made of it."""
        return Carried(self.claim, self.beat, self.begun, cargo)


class Carrier(ABC):
    """Claim and deliver studies until told to stop.

    Args:
        context: what making needs; its ledger is the worker's own.
        destinations: by name; none sends nothing.
        audit: of deliveries.
        board: where it is written down what is in the worker's hands.
        places: for studies that are made at one time.
    """

    def __init__(
        self,
        context: MakingContext,
        destinations: Mapping[str, Destination],
        audit: AuditLog,
        board: FlightBoard,
        places: int,
    ) -> None:
        self._context, self._ledger = context, context.ledger
        self._destinations, self._audit, self._board = destinations, audit, board
        self._stop = Event()
        self._fresh = Event()  # something was made here since deliveries were looked for
        self._places = Semaphore(places)
        self._threads: list[Thread] = []
        self._sending = Lock()  # held while a study is delivered, or is made alone

    def stop(self) -> None:
        """Begin nothing more: what waits is given back, what is worked on is ended. May be called in a signal."""
        self._stop.set()
        self._fresh.set()

    @abstractmethod
    def prepare(self) -> None:
        """Make ready, and see whether the settings are right; returns early after :meth:`stop`.

        Raises:
            UsageError: they are not.
        """

    @abstractmethod
    def run(self) -> None:
        """Work; returns after :meth:`stop`, when nothing is in hand any more."""

    def _run(self, beside: Sequence[Callable[[], None]], here: Callable[[], None]) -> None:
        """Run loops in threads of their own and one in this, until all have ended."""
        for one in beside:
            self._start(one)
        self._or_die(here)
        self._join()

    def _start(self, work: Callable[[], None]) -> None:
        """Run a loop in a thread of its own from now on."""
        thread = Thread(target=self._or_die, args=(work,), name=work.__name__.strip("_"))
        self._threads.append(thread)
        thread.start()

    def _join(self) -> None:
        while self._threads:
            self._threads.pop().join()

    def _or_die(self, work: Callable[[], None]) -> None:
        """End the process with an error that a part of it cannot go on from: half a worker would be worse than none."""
        try:
            work()
        except BaseException as error:
            _LOG.critical("a part of the worker failed; it ends", exc_info=True)
            if isinstance(error, LedgerError):  # no study's fault
                self._board.stop()
            os._exit(ExitCode.NONE_SUCCEEDED)

    def _claim(self, take: Callable[[Carried[None]], None]) -> None:
        """Claim studies to be made, one for each free place, until told to stop."""
        while self._places.acquire() and not self._stop.is_set():
            ready = self._may_claim() and self._takes_lines()
            claim = self._ledger.claim(Stage.MAKE) if ready else None
            if claim is None:
                self._places.release()
                self._stop.wait(_IDLE_SECONDS)
            else:
                take(self._begin(claim))

    def _tell_bundles(self, bundles: Sequence[KnownBundle]) -> None:
        """Log what results are made by from now on."""
        for bundle in bundles:
            fields = told(bundle=bundle.name, version=bundle.version, digest=bundle.digest)
            _LOG.info("bundle loaded", extra=fields)

    def _may_claim(self) -> bool:
        """Whether a study could be made now."""
        return True

    def _begin(self, claim: Claim) -> Carried[None]:
        self._board.note(claim, None)
        return Carried(claim, Heartbeat(self._ledger, claim).__enter__(), time.monotonic(), None)

    def _takes_lines(self) -> bool:
        """Whether the audit log takes a line; nothing is begun without. It is the service that tells where not."""
        try:
            self._audit.take_up()
        except (AuditError, OSError):
            return False
        return True

    def _give_back(
        self,
        carried: Carried[_Cargo],
        code: str = "worker-stopped",
        reason: str = "its worker was asked to end",
        delay_seconds: float = 0.0,
    ) -> None:
        with suppress(LeaseLost):
            self._ledger.give_back(carried.claim, code, reason, delay_seconds)
        self._end(carried, Ended(carried.claim, State.READY, code, reason))

    def _finish(self, carried: Carried[_Cargo], written: StudyWritten) -> None:
        """Say that a study is made: in the audit log, and then in the ledger. Where that log takes no line it waits."""
        try:
            self._audit_made(carried.claim, written)
        except (AuditError, OSError):
            reason = "the audit log could not be written; it is made anew when it can"
            self._give_back(carried, "disk-error", reason, _PAUSE_SECONDS)
        else:
            self._end(carried, finish(written, self._context))

    def _end(self, carried: Carried[_Cargo], ended: Ended) -> None:
        carried.beat.__exit__()
        self._board.drop(carried.claim)
        self._places.release()
        if ended.state is State.MADE:
            self._fresh.set()
        well = ended.state in (State.SKIPPED, State.READY) or (ended.state is State.MADE and not ended.code)
        level = logging.INFO if well else logging.WARNING
        fields = told(
            study=ended.claim.study,
            state=ended.state or "no-longer-ours",
            code=ended.code,
            reason=ended.reason,
            makers=", ".join(str(maker) for maker in ended.makers) or None,
            attempt=ended.claim.attempt,
            seconds=round(time.monotonic() - carried.begun, 3),
        )
        _LOG.log(level, "study ended its making", extra=fields)

    def _audit_made(self, claim: Claim, written: StudyWritten) -> None:
        for maker in written.makers:
            self._audit.append(
                "study-made",
                study=claim.study,
                revision=claim.revision,
                bundle=as_name(maker.name),
                version=as_name(maker.version),
                digest=maker.digest,
            )

    def _deliver(self) -> None:
        while self._destinations and not self._stop.is_set():
            with self._sending:
                pause = 0.0 if self._stop.is_set() else self._deliver_next()
            if pause is None:
                # What is made here is delivered here where that can be: its contents are still known.
                self._fresh.wait(_IDLE_SECONDS)
            else:
                self._stop.wait(pause)

    def _deliver_next(self) -> float | None:
        """Deliver a study; seconds to wait before the next, or ``None`` where there is none."""
        self._fresh.clear()
        claim = self._ledger.claim(Stage.DELIVER) if self._takes_lines() else None
        if claim is None:
            return None
        self._board.note(claim, DELIVER)
        pause = _BREATH_SECONDS
        try:
            deliver(claim, self._ledger, self._destinations, self._context.results, self._audit)
        except (LedgerError, AuditError, OSError):
            fields = told(study=claim.study)
            _LOG.error(
                "study not delivered: ledger or audit log cannot be written", exc_info=True, extra=fields
            )
            with suppress(LedgerError):
                self._ledger.give_back(
                    claim, "disk-error", "the ledger or the audit log could not be written"
                )
            pause = _PAUSE_SECONDS
        self._board.drop(claim)
        return pause
