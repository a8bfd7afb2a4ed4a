"""Keep a caller's random numbers: a bundle's ``initialize`` seeds those of the whole process."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["kept_random_state"]


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Leave Python's, NumPy's and PyTorch's random numbers as they were, whatever is seeded or drawn inside."""
    python, legacy = random.getstate(), np.random.get_state()
    had_cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if had_cuda else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        if not had_cuda:
            # GPUs that nobody has used yet have no state to keep; they begin from the seed last set for all.
            torch.cuda.manual_seed_all(torch.initial_seed())
