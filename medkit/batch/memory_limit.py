"""The bound of what a process may take of the memory."""

from __future__ import annotations

import resource

__all__ = ["limit_memory"]


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
