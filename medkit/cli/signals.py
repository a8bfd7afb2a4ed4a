"""SIGTERM and Ctrl-C for commands that end in good order."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["signals_call"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def signals_call(stop: Callable[[], None]) -> Iterator[None]:
    """Let both signals call ``stop`` while the block runs."""
    before = {number: signal.signal(number, lambda *_: stop()) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
