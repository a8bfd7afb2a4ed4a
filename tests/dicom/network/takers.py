"""What a node hands instances to, and a node that does."""

from __future__ import annotations

from medkit.dicom.network.node import StorageNode

__all__ = ["CALLER", "Taken", "node"]

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
