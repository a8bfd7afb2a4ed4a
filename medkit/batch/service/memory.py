"""The bound of a worker's memory."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from medkit.data.host_memory import total_memory

if TYPE_CHECKING:
    from medkit.batch.service.settings import Settings

__all__ = ["limit_memory", "worker_memory"]

_SHARE = 0.9  # of the memory that there is, for all workers; the rest is the service's and the system's


def worker_memory(settings: Settings) -> int:
    """Bytes that one worker on this machine may take: what the settings say, or its share of what there is."""
    if settings.limits.memory_bytes is not None:
        return settings.limits.memory_bytes
    return int(_SHARE * total_memory() / settings.workers)


def limit_memory(memory_bytes: int | None, device: str | None) -> None:
    """Bound what this process may take, where the system can: what wants more gets a ``MemoryError``.

    Not with a GPU, whose driver maps far more than is used; there somebody else has to look at what is used.

    Args:
        memory_bytes: ``None`` takes an earlier bound away.
        device: on which bundles run; each one's own choice where it is ``None``.
    """
    import torch

    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if memory_bytes is None or (device != "cpu" and torch.cuda.is_available()):
        memory_bytes = most
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, most))
