"""Have a process keep the memory that it frees for what it takes next."""

from __future__ import annotations

import ctypes
import os

__all__ = ["keep_freed_memory", "set_by_nanny"]

_TRIM, _MMAP = "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"
_BY_NANNY = "65536"
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
_MOST = 2**31 - 1  # an int


def keep_freed_memory(largest_bytes: int = 1 << 30) -> bool:
    """Have glibc (2.35 or later) keep freed blocks up to a size, and twice as much of them; whether that was done.

    By itself it takes each block above 32 MiB from the system and gives it back when it is freed, so that the kernel has
    to fill it with zeros each time: a third of what a training step on large images takes. Who set something else by
    glibc's environment variables keeps it; older ones take no more than 32 MiB, and other libraries of C nothing.

    Args:
        largest_bytes: up to 1 GiB.
    """
    if _MMAP in os.environ or (_TRIM in os.environ and not set_by_nanny()):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return bool(
        mallopt(_M_MMAP_THRESHOLD, largest_bytes)
        and mallopt(_M_TRIM_THRESHOLD, min(2 * largest_bytes, _MOST))
    )


def set_by_nanny() -> bool:
    """Whether Dask's nanny has this process give back each block above 128 KiB (``MALLOC_TRIM_THRESHOLD_=65536``)."""
    return os.environ.get(_TRIM) == _BY_NANNY and _MMAP not in os.environ
