"""How the making of a study ends where it does not end in results, and what each error means for that."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from medkit.batch.ledger import IllegalTransition, State
from medkit.batch.making.reasons import without_patient
from medkit.errors import CaseError, MedkitError, UsageError

if TYPE_CHECKING:
    from medkit.batch.ledger import Claim, Ledger

__all__ = ["Verdict", "may_come_again", "settle", "verdict", "verdict_on"]

_FULL_DISK_SECONDS = 300.0
# Codes that say nothing of the study: the machine or the settings are at fault, or something is missing, or came with
# two contents, and can be sent again. Another attempt may change that; in the end a person looks. A refusal would end
# the study without a word, and have its earlier results withdrawn.
_NOT_THE_STUDYS = frozenset(
    {
        *("out-of-memory", "pipeline-failed", "source-changed", "too-large", "wrong-configuration"),
        *("instances-missing", "instances-changed", "instances-conflict", "instances-damaged"),
        "count-mismatch",
    }
)


class Verdict(MedkitError):
    """A study ends here for now.

    Args:
        state: ``refused``, ``skipped``, ``failed`` (to be tried again), or ``ready`` (given back, which is no attempt).
        code: short reason in kebab case.
        message: one line without a patient in it.
        delay_seconds: for which one that is given back waits.
    """

    def __init__(self, state: State, code: str, message: str, delay_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.state, self.code, self.delay_seconds = state, code, delay_seconds


def verdict(code: str, message: str) -> Verdict:
    """How a study ends for a reason: refused, or to be tried again where the reason is none of the study's."""
    return Verdict(State.FAILED if may_come_again(code) else State.REFUSED, code, message)


def may_come_again(code: str) -> bool:
    """Whether a reason is none of the study's: what it is about may be mended, or sent again."""
    return code in _NOT_THE_STUDYS


def verdict_on(error: Exception) -> Verdict:
    """What an error of reading, predicting or writing means for the study."""
    if isinstance(error, Verdict):
        return error
    line = without_patient(" ".join(str(error).split()))
    if isinstance(error, CaseError):
        return verdict(error.code, line)
    if isinstance(error, UsageError):
        return verdict("wrong-configuration", line)
    if isinstance(error, IllegalTransition):
        return Verdict(State.FAILED, "result-not-taken", line)
    if isinstance(error, MemoryError):
        text = "expected enough memory, got none left; give the worker more"
        return Verdict(State.FAILED, "out-of-memory", text)
    if isinstance(error, OSError):
        return _on_disk_error(error)
    # Its text may hold anything.
    text = f"expected no such error, got a {type(error).__name__}; please report this"
    return Verdict(State.FAILED, "unexpected-error", text)


def _on_disk_error(error: OSError) -> Verdict:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        text = "expected room for results, got a full disk; make room"
        return Verdict(State.READY, "disk-full", text, _FULL_DISK_SECONDS)
    said = error.strerror or type(error).__name__
    return Verdict(
        State.FAILED,
        "disk-error",
        f"expected files that can be read and written, got: {said}; look at the disk",
    )


def settle(claim: Claim, verdict: Verdict, ledger: Ledger) -> State:
    """Write a verdict into the ledger; return the state that the study has then.

    Raises:
        LeaseLost: the study is no longer this worker's, and nothing is to be said of it.
    """
    reason = str(verdict)
    if verdict.state is State.FAILED:
        return ledger.fail(claim, verdict.code, reason)
    if verdict.state is State.READY:
        ledger.give_back(claim, verdict.code, reason, verdict.delay_seconds)
    elif verdict.state is State.SKIPPED:
        ledger.skip(claim, verdict.code, reason)
    else:
        ledger.refuse(claim, verdict.code, reason)
    return verdict.state
