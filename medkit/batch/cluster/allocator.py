"""Have a worker of the cluster keep the memory that it frees for what it takes next, as other processes do."""

from __future__ import annotations

import ctypes
import os
from functools import cache

__all__ = ["keep_freed_memory"]

_VARIABLE, _OWN_VARIABLE, _BY_NANNY = "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "65536"
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
# Up to which glibc goes by itself as long as nobody sets anything; it trims at twice as much.
_MOST_BYTES = 32 << 20


@cache
def keep_freed_memory() -> bool:
    """Undo what Dask's nanny sets (``MALLOC_TRIM_THRESHOLD_=65536``), once in a process; whether that was done.

    glibc then takes each block above 128 KiB from the system, and gives it back when it is freed, so that the kernel has
    to fill it with zeros each time: up to a third of what inference takes on a small volume. Who set something else
    keeps it, and other libraries of C have no such setting.
    """
    if os.environ.get(_VARIABLE) != _BY_NANNY or _OWN_VARIABLE in os.environ:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MOST_BYTES) and mallopt(_M_TRIM_THRESHOLD, 2 * _MOST_BYTES))
