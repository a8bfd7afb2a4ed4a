"""The part of ``ops.py`` on the selective scan: what is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from ops_scan_ways import Case, Check, Problem, Way, checks, problem_of, reason_against, ways
from timing import Run, least_seconds, note, on_each

CASES = {
    "cpu": [
        *(Case(1, 64, length) for length in (512, 4096, 32768, 262144)),
        Case(1, 256, 4096),
        Case(1, 768, 512),
        Case(1, 64, 32768, torch.bfloat16),
        Case(1, 64, 32768, everything=True),
        Case(1, 256, 4096, torch.bfloat16, everything=True),
    ],
    "cuda": [
        Case(*sizes, dtype, everything=True)
        for sizes in ((1, 64, 32768), (1, 128, 4096), (2, 256, 4096), (1, 768, 512), (1, 96, 262144))
        for dtype in (torch.float32, torch.bfloat16)
    ],
}
DIRECTIONS = {"forward": False, "forward and backward": True}
# Where the arguments lie, in the cache or not. On a GPU the stopwatch empties the cache.
CONDITIONS = {"cpu": ("warm", "cold"), "cuda": ("cold",)}
# Gone through before the same memory is used again, so that no cache holds it still.
COLD_BYTES = 2**28

# Way, direction, condition and number of threads.
Key = tuple[str, str, str, int]


@dataclass(frozen=True)
class Result:
    """Seconds of a case, and why a way has none in a direction; and how many bytes each direction moves at least."""

    case: Case
    moved: dict[str, int]
    seconds: dict[Key, float] = field(default_factory=dict)
    left_out: dict[tuple[str, str], str] = field(default_factory=dict)
    wrong: dict[tuple[str, str], str] = field(default_factory=dict)

    def ratio(self, key: Key, other: Key) -> str:
        """What ``key`` takes beside ``other``."""
        return self._word(key) or self._word(other) or f"{self.seconds[key] / self.seconds[other]:.2f}"

    def milliseconds(self, key: Key) -> str:
        return self._word(key) or f"{1e3 * self.seconds[key]:.3f}"

    def _word(self, key: Key) -> str:
        if key[:2] in self.wrong:
            return "wrong"
        return "left out" if key[:2] in self.left_out else ""


def bytes_of(tensors: Iterable[torch.Tensor]) -> int:
    return sum(x.nbytes for x in tensors)


def moved_bytes(problem: Problem) -> dict[str, int]:
    """The least that is read and written.

    Forward reads the arguments and writes the output. Backward reads the arguments again and the gradient by the
    output, and writes a gradient for each argument.
    """
    read, out = bytes_of(problem.tensors.values()), problem.grad.nbytes
    return dict(zip(DIRECTIONS, (read + out, 3 * read + 2 * out), strict=True))


def several(make: Callable[[], object], size: int, condition: str, device: str) -> list:
    """One thing of so many bytes, or so many of them that each has left the cache when its turn comes again."""
    return [make() for _ in range(1 + COLD_BYTES // size if (device, condition) == ("cpu", "cold") else 1)]


def copy_runs(moved: dict[str, int], condition: str, device: str) -> dict[tuple, Run]:
    """Copies that move as many bytes as the scan has to."""
    found = {}
    for direction, size in moved.items():
        source = torch.zeros(size // 8, device=device)  # of 4 bytes each, read and written
        pairs = several(lambda like=source: (like.clone(), like.clone()), source.nbytes, condition, device)
        found["copy", direction, condition] = on_each(lambda pair: pair[0].copy_(pair[1]), pairs)
    return found


def scan_runs(
    way: Way, directions: list[str], problem: Problem, condition: str, device: str
) -> dict[tuple, Run]:
    own = way.own(problem)
    problems = several(lambda: own.each(torch.clone), bytes_of(own.tensors.values()), condition, device)
    return {
        (way.name, direction, condition): on_each(
            lambda own, gradients=DIRECTIONS[direction]: way.scan(own, gradients), problems
        )
        for direction in directions
    }


def right_directions(way: Way, against: list[Check], result: Result, device: str) -> list[str]:
    """In which directions a way may be timed; why not in another goes into the result."""
    found = []
    for direction, gradients in DIRECTIONS.items():
        if reason := reason_against(way, result.case, gradients, device):
            result.left_out[way.name, direction] = reason
            continue
        note(f"  checking {way.name}, {direction}")
        fault = next((fault for check in against if (fault := check.fault(way, gradients))), None)
        if fault:
            result.wrong[way.name, direction] = fault
        else:
            found.append(direction)
    return found


def every_run(result: Result, problem: Problem, device: str) -> dict[tuple, Run]:
    """What is right and may be timed."""
    first = CONDITIONS[device][0]
    against = checks(problem)
    right = {way: right_directions(way, against, result, device) for way in ways(device)}
    found = {}
    for condition in CONDITIONS[device]:
        found |= copy_runs(result.moved, condition, device)
        for way, directions in right.items():
            # Where the arguments lie matters to what is nearly as fast as memory.
            if condition == first or way.name == "medkit":
                found |= scan_runs(way, directions, problem, condition, device)
    return found


def thread_counts(device: str) -> list[int]:
    """1, 2, 4 and so on to all; for a GPU there is nothing to choose."""
    most = torch.get_num_threads()
    return [*(2**i for i in range(most.bit_length()) if 2**i < most and device == "cpu"), most]


def measure(case: Case, rounds: int, device: str) -> Result:
    """Every way with all threads; medkit and copies, from memory, with fewer too."""
    note(f"scan of {' '.join(case.cells())}")
    problem = problem_of(case, device)
    result = Result(case, moved_bytes(problem))
    runs = every_run(result, problem, device)
    scaled = {key: run for key, run in runs.items() if key[0] in ("medkit", "copy") and key[2] == "cold"}
    counts = thread_counts(device)
    for threads in counts:
        note(f"  timing, threads: {threads}")
        torch.set_num_threads(threads)
        taken = least_seconds(runs if threads == counts[-1] else scaled, rounds, device)
        result.seconds.update({(*key, threads): seconds for key, seconds in taken.items()})
    return result
