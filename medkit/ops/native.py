"""The compiled kernels of ``csrc/``, where a compiler was at hand when medkit was installed."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
from functools import cache

import torch

__all__ = ["library", "thread_count"]

_VERSION = 7  # of the argument lists; that of csrc/version.c
_LOGGER = logging.getLogger(__name__)
_forked = False


@cache
def library() -> ctypes.CDLL | None:
    """The library, or ``None``, with one line in the log, where it was not built or does not load."""
    spec = importlib.util.find_spec("medkit.ops._native")
    if spec is None or spec.origin is None:
        _LOGGER.warning("medkit was installed without a C compiler: PyTorch computes the same, slower")
        return None
    try:
        found = ctypes.CDLL(spec.origin)
        version = found.medkit_kernels_version()
    except (OSError, AttributeError) as error:
        _LOGGER.warning("medkit's kernels do not load (%s): PyTorch computes the same, slower", error)
        return None
    if version != _VERSION:
        _LOGGER.warning(
            "medkit's kernels are of another version: PyTorch computes the same, slower; reinstall"
        )
        return None
    return found


def thread_count() -> int:
    """How many threads a kernel may use: as many as PyTorch, and one in a forked process.

    GNU's OpenMP hangs in a child whose parent had threads of it.
    """
    return 1 if _forked else torch.get_num_threads()


def _after_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
