"""A worker: a process that reads one study while it predicts another, writes a third and sends a fourth.

Predicting has the main thread. Reading, writing and sending are threads, since they wait for disks and networks, or
decode in C, and volumes need not be copied from one to the next. Workers are processes, since a study may kill one.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from threading import Event, Lock, Semaphore, Thread
from typing import TYPE_CHECKING, Generic, TypeVar

from medkit.batch.audit import AuditError
from medkit.batch.delivery.deliver import DELIVER, Outcome, deliver
from medkit.batch.delivery.heartbeat import Heartbeat
from medkit.batch.ledger import Claim, LeaseLost, LedgerError, Stage, State
from medkit.batch.making import (
    PREDICT,
    READ,
    WRITE,
    Ended,
    attempt,
    finish,
    predict_study,
    read_study,
    write_study,
)
from medkit.batch.service.logs import told
from medkit.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from medkit.batch.audit import AuditLog
    from medkit.batch.delivery.destinations import Destination
    from medkit.batch.making import MakingContext, StudyPredicted, StudyRead
    from medkit.batch.service.flights import FlightBoard

__all__ = ["Worker"]

_LOG = logging.getLogger(__name__)
_IDLE_SECONDS = 1.0
_BREATH_SECONDS = 0.01  # in which another thread gets the lock
_PAUSE_SECONDS = 10.0  # after a disk or ledger that could not be written
_STAGES = 3  # one study in each: more would only hold memory
_Cargo = TypeVar("_Cargo")
_Done = TypeVar("_Done")


@dataclass(frozen=True, eq=False)
class _Carried(Generic[_Cargo]):
    """A study on its way through the stages; its lease is kept alive meanwhile."""

    claim: Claim
    beat: Heartbeat
    begun: float
    cargo: _Cargo

    def with_cargo(self, cargo: _Done) -> _Carried[_Done]:
        return _Carried(self.claim, self.beat, self.begun, cargo)


class Worker:
    """Make and deliver studies until told to stop.

    Args:
        context: what making needs; its ledger is the worker's own.
        destinations: by name; none sends nothing.
        audit: of deliveries.
        board: where it is written down what is in the worker's hands.
    """

    def __init__(
        self,
        context: MakingContext,
        destinations: Mapping[str, Destination],
        audit: AuditLog,
        board: FlightBoard,
    ) -> None:
        self._context, self._ledger = context, context.ledger
        self._destinations, self._audit, self._board = destinations, audit, board
        self._stop = Event()
        self._places = Semaphore(_STAGES)
        self._sending = Lock()  # held while a study is delivered, or is made alone
        self._to_predict: SimpleQueue[_Carried[StudyRead] | None] = SimpleQueue()
        self._to_write: SimpleQueue[_Carried[StudyPredicted] | None] = SimpleQueue()

    def stop(self) -> None:
        """Begin nothing more: what waits is given back, what a stage works on is ended. May be called in a signal."""
        self._stop.set()

    def run(self) -> None:
        """Work; returns after :meth:`stop`, when nothing is in hand any more."""
        work = [self._read, self._write, *([self._deliver] if self._destinations else [])]
        threads = [Thread(target=self._or_die, args=(one,), name=one.__name__.strip("_")) for one in work]
        for thread in threads:
            thread.start()
        self._or_die(self._predict)
        for thread in threads:
            thread.join()

    def _or_die(self, work: Callable[[], None]) -> None:
        """End the process with an error that a part of it cannot go on from: half a worker would be worse than none."""
        try:
            work()
        except BaseException as error:
            _LOG.critical("a part of the worker failed; it ends", exc_info=True)
            if isinstance(error, LedgerError):  # no study's fault
                self._board.stop()
            os._exit(ExitCode.NONE_SUCCEEDED)

    def _read(self) -> None:
        while self._places.acquire() and not self._stop.is_set():
            claim = self._ledger.claim(Stage.MAKE)
            if claim is None:
                self._places.release()
                self._stop.wait(_IDLE_SECONDS)
            elif claim.attempt == 1:
                self._read_one(self._begin(claim))
            else:
                self._read_alone(self._begin(claim))
        self._to_predict.put(None)

    def _read_alone(self, carried: _Carried[None]) -> None:
        """Have nothing else in hand while a study is tried again: it may be one that kills its worker."""
        with self._sending:
            self._board.wait_alone(carried.claim)
            self._read_one(carried)
            self._board.wait_gone(carried.claim)

    def _read_one(self, carried: _Carried[None]) -> None:
        read = self._stage(carried, READ, partial(read_study, carried.claim, self._context))
        if read is not None:
            self._to_predict.put(read)

    def _predict(self) -> None:
        while (carried := self._to_predict.get()) is not None:
            predicted = self._stage(carried, PREDICT, partial(predict_study, carried.cargo, self._context))
            if predicted is not None:
                self._to_write.put(predicted)
            del carried, predicted  # or its volumes would stay until the next study comes
        self._to_write.put(None)

    def _write(self) -> None:
        while (carried := self._to_write.get()) is not None:
            claim, work = carried.claim, partial(write_study, carried.cargo, self._context)
            self._board.note(claim, WRITE)
            written = attempt(claim, self._ledger, WRITE, work)
            self._end(carried, written if isinstance(written, Ended) else finish(written, self._context))
            del carried, work, written

    def _stage(
        self, carried: _Carried[_Cargo], name: str, work: Callable[[], _Done]
    ) -> _Carried[_Done] | None:
        """Do one thing with a study; ``None`` where that was its end, or it was given back."""
        if self._stop.is_set():
            self._give_back(carried)
            return None
        self._board.note(carried.claim, name)
        done = attempt(carried.claim, self._ledger, name, work)
        if isinstance(done, Ended):
            self._end(carried, done)
            return None
        self._board.note(carried.claim, None)
        return carried.with_cargo(done)

    def _begin(self, claim: Claim) -> _Carried[None]:
        self._board.note(claim, None)
        return _Carried(claim, Heartbeat(self._ledger, claim).__enter__(), time.monotonic(), None)

    def _give_back(self, carried: _Carried[_Cargo]) -> None:
        with suppress(LeaseLost):
            self._ledger.give_back(carried.claim, "worker-stopped", "its worker was asked to end")
        self._end(carried, Ended(carried.claim, State.READY, "worker-stopped"))

    def _end(self, carried: _Carried[_Cargo], ended: Ended) -> None:
        carried.beat.__exit__()
        self._board.drop(carried.claim)
        self._places.release()
        level = logging.INFO if ended.state in (State.MADE, State.SKIPPED, State.READY) else logging.WARNING
        fields = told(
            study=ended.claim.study,
            state=ended.state or "no-longer-ours",
            code=ended.code,
            reason=ended.reason,
            attempt=ended.claim.attempt,
            seconds=round(time.monotonic() - carried.begun, 3),
        )
        _LOG.log(level, "study ended its making", extra=fields)

    def _deliver(self) -> None:
        while not self._stop.is_set():
            with self._sending:
                pause = 0.0 if self._stop.is_set() else self._deliver_next()
            self._stop.wait(pause)

    def _deliver_next(self) -> float:
        """Deliver a study if there is one; seconds to wait before the next."""
        claim = self._ledger.claim(Stage.DELIVER)
        if claim is None:
            return _IDLE_SECONDS
        self._board.note(claim, DELIVER)
        begun, pause = time.monotonic(), _BREATH_SECONDS
        try:
            outcome = deliver(claim, self._ledger, self._destinations, self._context.results, self._audit)
        except (LedgerError, AuditError, OSError):
            _LOG.error("study not delivered: ledger or audit log cannot be written", exc_info=True)
            with suppress(LedgerError):
                self._ledger.give_back(
                    claim, "disk-error", "the ledger or the audit log could not be written"
                )
            outcome, pause = Outcome.LOST, _PAUSE_SECONDS
        self._board.drop(claim)
        fields = told(
            study=claim.study,
            outcome=outcome,
            attempt=claim.attempt,
            seconds=round(time.monotonic() - begun, 3),
        )
        _LOG.log(
            logging.INFO if outcome is Outcome.DELIVERED else logging.WARNING,
            "study ended its delivery",
            extra=fields,
        )
        return pause
