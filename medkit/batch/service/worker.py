"""A worker: a process that reads one study while it predicts another, writes a third and sends a fourth.

Predicting has the main thread. Reading, writing and sending are threads, since they wait for disks and networks, or
decode in C, and volumes need not be copied from one to the next. Workers are processes, since a study may kill one.
"""

from __future__ import annotations

from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from medkit.allocator import give_back_now_and_then
from medkit.batch.making import (
    PREDICT,
    READ,
    WRITE,
    Ended,
    attempt,
    predict_study,
    read_study,
    write_study,
)
from medkit.batch.service.carrier import Carried, Carrier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from medkit.batch.audit import AuditLog
    from medkit.batch.delivery.destinations import Destination
    from medkit.batch.making import MakingContext, StudyPredicted, StudyRead
    from medkit.batch.service.flights import FlightBoard

__all__ = ["Worker"]

_STAGES = 3  # one study in each: more would only hold memory
_Cargo = TypeVar("_Cargo")
_Done = TypeVar("_Done")


class Worker(Carrier):
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
        super().__init__(context, destinations, audit, board, _STAGES)
        self._to_predict: SimpleQueue[Carried[StudyRead] | None] = SimpleQueue()
        self._to_write: SimpleQueue[Carried[StudyPredicted] | None] = SimpleQueue()

    def prepare(self) -> None:
        """Load each bundle that a rule names.

        Raises:
            UsageError: see :meth:`medkit.batch.making.MakingContext.check`.
        """
        self._tell_bundles(self._context.check())

    def run(self) -> None:
        """Work; returns after :meth:`stop`, when nothing is in hand any more."""
        self._run([self._read, self._write, self._deliver], self._predict)

    def _read(self) -> None:
        self._claim(self._take)
        self._to_predict.put(None)

    def _take(self, carried: Carried[None]) -> None:
        if carried.claim.attempt == 1:
            self._read_one(carried)
        else:
            self._read_alone(carried)

    def _read_alone(self, carried: Carried[None]) -> None:
        """Have nothing else in hand while a study is tried again: it may be one that kills its worker."""
        with self._sending:
            self._board.wait_alone(carried.claim)
            self._read_one(carried)
            self._board.wait_gone(carried.claim)

    def _read_one(self, carried: Carried[None]) -> None:
        read = self._stage(carried, READ, partial(read_study, carried.claim, self._context))
        if read is not None:
            self._to_predict.put(read)

    def _predict(self) -> None:
        while (carried := self._to_predict.get()) is not None:
            predicted = self._stage(carried, PREDICT, partial(predict_study, carried.cargo, self._context))
            if predicted is not None:
                self._to_write.put(predicted)
            del carried, predicted  # or its volumes would stay until the next study comes
            give_back_now_and_then()
        self._to_write.put(None)

    def _write(self) -> None:
        while (carried := self._to_write.get()) is not None:
            claim, work = carried.claim, partial(write_study, carried.cargo, self._context)
            self._board.note(claim, WRITE)
            written = attempt(claim, self._ledger, WRITE, work)
            if isinstance(written, Ended):
                self._end(carried, written)
            else:
                self._finish(carried, written)
            del carried, work, written

    def _stage(self, carried: Carried[_Cargo], name: str, work: Callable[[], _Done]) -> Carried[_Done] | None:
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
