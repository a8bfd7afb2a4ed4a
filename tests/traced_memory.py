"""The memory of Python and numpy, or of PyTorch's tensors, at its peak, to hold bounds of it without timing or luck."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import accumulate


def peak_bytes(run: Callable[[], object]) -> int:
    """Bytes that a call holds at once at the most, beside what was held before."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def peak_tensor_bytes(run: Callable[[], object]) -> int:
    """The same of what PyTorch allocates for tensors on the CPU."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as traced:
        run()
    events = [event for event in traced.profiler.kineto_results.events() if event.name() == "[memory]"]
    assert events, "or nothing was traced"
    held = accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    return max(held)
