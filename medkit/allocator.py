"""Have a process keep the memory that it frees for what it takes next, and give it back now and then."""

from __future__ import annotations

import ctypes
import os
from itertools import count

__all__ = ["give_back_freed_memory", "give_back_now_and_then", "keep_freed_memory"]

_TRIM, _MMAP = "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"
_BY_NANNY = "65536"  # Dask's, which has its workers give back each block above 128 KiB
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
_BLOCK_BYTES = 256 << 20
_OLD_BLOCK_BYTES = 32 << 20  # what glibc takes before 2.35
_EVERY = 100
_calls = count(1)


def keep_freed_memory() -> bool:
    """Have glibc keep freed blocks of up to 256 MiB, and twice as much of them; whether that was done.

    By itself it takes each block above 32 MiB, and above less in the beginning, from the system and gives it back when
    it is freed, so that the kernel has to fill it with zeros each time: a quarter to a third of what training and
    inference on a CPU take. Who set something else by glibc's environment variables keeps it, unless that was Dask's
    nanny. Versions before 2.35 keep blocks of up to 32 MiB, and other libraries of C have no such setting.
    """
    if _MMAP in os.environ or os.environ.get(_TRIM, _BY_NANNY) != _BY_NANNY:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return any(
        mallopt(_M_MMAP_THRESHOLD, most) and mallopt(_M_TRIM_THRESHOLD, 2 * most)
        for most in (_BLOCK_BYTES, _OLD_BLOCK_BYTES)
    )


def give_back_freed_memory() -> bool:
    """Have glibc give all free pages of its heaps to the system; whether there were any.

    What lives long comes to lie between what does not, and ever more pages that are hardly used stay: a process that
    makes thousands of things one after the other grows by that, though it leaks nothing. Other libraries of C have no
    such call.
    """
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except AttributeError:
        return False


def give_back_now_and_then() -> None:
    """Give freed memory back at every hundredth call, all in the process counted: for after each of many things."""
    if next(_calls) % _EVERY == 0:
        give_back_freed_memory()
