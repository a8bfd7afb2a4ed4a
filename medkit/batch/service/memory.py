"""What one worker on this machine may take of the memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medkit.data.host_memory import total_memory

if TYPE_CHECKING:
    from medkit.batch.service.settings import Settings

__all__ = ["worker_memory"]

_SHARE = 0.9  # of the memory that there is, for all workers; the rest is the service's and the system's


def worker_memory(settings: Settings) -> int:
    """Bytes that one worker on this machine may take: what the settings say, or its share of what there is."""
    if settings.limits.memory_bytes is not None:
        return settings.limits.memory_bytes
    return int(_SHARE * total_memory() / settings.workers)
