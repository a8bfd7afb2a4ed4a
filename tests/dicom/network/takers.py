"""What a node hands instances to, and a node that does."""

from __future__ import annotations

import time
from collections.abc import Callable

from medkit.dicom.network.node import StorageNode

__all__ = ["CALLER", "Taken", "eventually", "node"]

CALLER = "SCANNER"


class Taken:
    """Keeps what it is given."""

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.files: dict[tuple[str, str], bytes] = {}

    def __call__(self, study: str, instance: str, file) -> int:
        self.files[study, instance] = file.read()
        return self.status


def node(taken, **more) -> StorageNode:
    return StorageNode("MEDKIT", taken, [CALLER], port=0, **more)


def eventually(what: Callable[[], object]) -> bool:
    """Whether something becomes true within 20 seconds."""
    until = time.monotonic() + 20
    while not what() and time.monotonic() < until:
        time.sleep(0.01)
    return bool(what())
