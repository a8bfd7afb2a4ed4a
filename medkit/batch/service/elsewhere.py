"""Ask what needs PyTorch in a process of its own.

A service does without the memory of PyTorch, and workers are to have the device.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from multiprocessing import get_context
from typing import TYPE_CHECKING, TypeVar

from medkit.batch.logs import silence_libraries
from medkit.errors import MedkitError

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

__all__ = ["ask_elsewhere"]

_PROCESSES = get_context("spawn")
_END_SECONDS = 10.0  # for a process that was killed; one that hangs in a driver may not end
_T = TypeVar("_T")


def ask_elsewhere(seconds: float, what: str, ask: Callable[..., _T], *given: object) -> _T:
    """What a function of a module gives, or raises, in another process.

    Args:
        seconds: how long it may take, the start of the process and its imports included.
        what: that it does, for a person.
        ask: the function.
        given: to it.

    Raises:
        MedkitError: the process ended without an answer, or there was none in time.
    """
    heard, told = _PROCESSES.Pipe(duplex=False)
    with heard:
        with told:
            process = _PROCESSES.Process(target=_answer, args=(told, ask, given), name="check", daemon=True)
            process.start()
        expected = f"expected a process that can {what}"
        try:
            if not heard.poll(seconds):
                process.kill()
                process.join(_END_SECONDS)
                raise MedkitError(
                    f"{expected} within {seconds:g} seconds, got no answer; see whether the device answers, and the "
                    "disk of the bundles, and start anew"
                )
            answer = heard.recv()
        except EOFError as error:
            process.join()
            raise MedkitError(f"{expected}, got one that ended with exit code {process.exitcode}") from error
    process.join()
    if isinstance(answer, Exception):
        raise answer
    found: _T = answer
    return found


def _answer(told: Connection, ask: Callable[..., object], given: tuple[object, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; who asked decides
    silence_libraries()
    try:
        answer = ask(*given)
    except Exception as error:
        answer = error  # raised where it is waited for
    with suppress(BrokenPipeError):  # who asked is gone
        told.send(answer)
