"""Whether the machine of a worker is well: what it does to studies is no fault of theirs.

A worker that is not fails whatever it gets within no time, and so would get most of what waits.
"""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING

from medkit.batch.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["device_fault", "fault_behind", "store_fault"]

# What a file system says that went away; a study's own file that is damaged or missing says something else.
_AWAY = frozenset(
    {
        *(errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH),
        *(errno.ENODEV, errno.ENXIO, errno.EROFS, errno.ESHUTDOWN),
    }
)


def device_fault() -> str:
    """The kind of error with which the GPU that this process used answers; empty where it is well, or none was used.

    An error of CUDA stays until the process ends: each later call fails too.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return ""
    try:
        torch.zeros(1, device="cuda").add(1).item()
    except Exception as error:
        return type(error).__name__
    return ""


def store_fault(folder: Path) -> str:
    """Why the store of the batch is not seen; empty where it is. None is made: it would hide that a mount is missing."""
    try:
        Spool(folder, make=False)
    except OSError as error:
        return f"expected the store of the batch at {folder}, got: {error.strerror or type(error).__name__}"
    return ""


def fault_behind(error: BaseException, store: Path) -> str:
    """Which fault of the machine an error came of; empty where it may be the study's."""
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno in _AWAY:
            return f"expected folders that stay, got: {one.strerror}"
    return store_fault(store)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
