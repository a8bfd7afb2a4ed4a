"""The memory of the machine, or of the container that this process is in."""

from __future__ import annotations

from pathlib import Path

import psutil

__all__ = ["free_memory", "total_memory"]

_CGROUP = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Bytes of memory that are free now, within the limit of a container as well."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        statistics = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no limit ("max"), or no container
        return free
    return min(free, limit - used + int(statistics.get("inactive_file", 0)))


def total_memory() -> int:
    """Bytes of memory that there are, free or not, within the limit of a container as well."""
    total = int(psutil.virtual_memory().total)
    try:
        return min(total, int((_CGROUP / "memory.max").read_text()))
    except (OSError, ValueError):  # no limit ("max"), or no container
        return total
