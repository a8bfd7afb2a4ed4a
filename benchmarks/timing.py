"""Time ways to the same end in turn, by the clock on the CPU and between events on a GPU."""

import sys
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import cycle
from typing import TypeVar

import torch

REPEATS = 3
# Of a way that has taken so long in all, the times so far have to do.
ENOUGH_SECONDS = 3.0
# More than a GPU's cache, so often that the device is busy until the call is submitted: no time goes by for Python.
FLUSHED_BYTES, FLUSHES = 2**31, 4

Run = Callable[[], object]
Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")


def least_seconds(runs: dict[Key, Run], rounds: int, device: str) -> dict[Key, float]:
    """The least time of each, three calls in a row (memory that lay idle is slow to come back) in every round."""
    seconds = between_events() if device == "cuda" else by_clock
    least, spent = dict.fromkeys(runs, float("inf")), dict.fromkeys(runs, 0.0)
    for _ in range(rounds):
        for key, run in runs.items():
            for _ in range(REPEATS):
                if spent[key] < ENOUGH_SECONDS:
                    taken = seconds(run)
                    least[key], spent[key] = min(least[key], taken), spent[key] + taken
    return least


def by_clock(run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def between_events() -> Callable[[Run], float]:
    """Times what the device does, from memory: its cache is overwritten before each call."""
    flushed = torch.empty(FLUSHED_BYTES, dtype=torch.int8, device="cuda")

    def seconds(run: Run) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        for _ in range(FLUSHES):
            flushed.zero_()
        start.record()
        run()
        end.record()
        end.synchronize()
        return 1e-3 * start.elapsed_time(end)

    return seconds


def on_each(run: Callable[[Item], object], items: Sequence[Item]) -> Run:
    """A call of ``run`` on the next of the items, round and round.

    As many results are kept as there are items, so that memory is written as seldom as it is read.
    """
    following: Iterator[Item] = cycle(items)
    kept: deque[object] = deque(maxlen=len(items) - 1)

    def call() -> None:
        kept.append(run(next(following)))

    for _ in items[1:]:  # the system hands out the memory now and not while the time is taken
        call()
    return call


def note(text: str) -> None:
    """Say on stderr how far a run has come."""
    print(text, file=sys.stderr, flush=True)
