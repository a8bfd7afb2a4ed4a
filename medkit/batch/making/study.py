"""A claimed study from the store to results on disk and in the ledger, or to its reason.

The stages :func:`read_study`, :func:`predict_study` and :func:`write_study` know nothing of each other, so that a worker
may have one study in each; :func:`attempt` runs one and turns what it raises into the study's state.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from medkit.batch.ledger import PARTLY_REFUSED, IllegalTransition, LeaseLost, LedgerError, State
from medkit.batch.making.predicting import predict_study
from medkit.batch.making.reading import read_study
from medkit.batch.making.verdicts import settle, verdict_on
from medkit.batch.making.writing import record_made, write_study

if TYPE_CHECKING:
    from collections.abc import Callable

    from medkit.batch.ledger import Claim, Ledger, Result
    from medkit.batch.making.context import MakingContext
    from medkit.batch.making.known import KnownBundle
    from medkit.batch.making.writing import StudyWritten

__all__ = ["PREDICT", "READ", "WRITE", "Ended", "attempt", "ended", "finish", "make_study"]

READ, PREDICT, WRITE = "read", "predict", "write"
"""Names of the stages, under which the ledger keeps what they take."""
_Done = TypeVar("_Done")


@dataclass(frozen=True)
class Ended:
    """How the making of a study ended.

    Args:
        claim: which it was.
        state: of the study; ``None`` where it is no longer this worker's, and nothing was said of it.
        code: short reason in kebab case; none where all was made.
        reason: one line without a patient in it.
        results: that were made.
        makers: the bundles that made them.
    """

    claim: Claim
    state: State | None
    code: str | None = None
    reason: str | None = None
    results: tuple[Result, ...] = ()
    makers: tuple[KnownBundle, ...] = ()


def make_study(claim: Claim, context: MakingContext) -> Ended:
    """Make the results of a study, stage by stage; the ledger knows how that ended when this returns.

    Args:
        claim: for ``make``. Somebody has to renew its lease (:meth:`medkit.batch.ledger.Ledger.heartbeat`) meanwhile.
        context: see there.

    Raises:
        LedgerError: the ledger cannot be read or written.
    """
    ledger = context.ledger
    read = attempt(claim, ledger, READ, lambda: read_study(claim, context))
    if isinstance(read, Ended):
        return read
    predicted = attempt(claim, ledger, PREDICT, lambda: predict_study(read, context))
    if isinstance(predicted, Ended):
        return predicted
    written = attempt(claim, ledger, WRITE, lambda: write_study(predicted, context))
    return written if isinstance(written, Ended) else finish(written, context)


def attempt(claim: Claim, ledger: Ledger, stage: str, work: Callable[[], _Done]) -> _Done | Ended:
    """Run a stage of a study and keep its time; what it raises becomes the study's state.

    What is no error (an interruption, the end of the program) is let through, and the study stays claimed.

    Args:
        claim: the right to the study.
        ledger: of the worker that has it.
        stage: its name.
        work: the stage.

    Raises:
        LedgerError: the ledger cannot be read or written.
    """
    begin = time.perf_counter()
    try:
        done = work()
        ledger.timed(claim, stage, time.perf_counter() - begin)
    except Exception as error:
        return ended(claim, error, ledger)
    return done


def finish(written: StudyWritten, context: MakingContext) -> Ended:
    """Tell the ledger of results that are on disk.

    Raises:
        LedgerError: the ledger cannot be read or written.
    """
    try:
        record_made(written, context)
    except Exception as error:
        return ended(written.claim, error, context.ledger)
    code = PARTLY_REFUSED if written.refused else None
    return Ended(written.claim, State.MADE, code, written.refused, written.results, written.makers)


def ended(claim: Claim, error: Exception, ledger: Ledger) -> Ended:
    """Make what the making of a study raised the study's state.

    Raises:
        LedgerError: the ledger cannot be read or written.
    """
    if isinstance(error, LedgerError) and not isinstance(error, (LeaseLost, IllegalTransition)):
        raise error
    try:
        if isinstance(error, LeaseLost):
            raise error
        verdict = verdict_on(error)
        return Ended(claim, settle(claim, verdict, ledger), verdict.code, str(verdict))
    except LeaseLost as lost:
        return Ended(claim, None, "lease-lost", str(lost))
