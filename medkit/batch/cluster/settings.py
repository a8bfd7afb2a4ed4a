"""Which cluster, and what of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from medkit.dicom.network.tls import TlsFiles

__all__ = ["ClusterSettings"]

_ENCRYPTED = ("tls://", "wss://")


@dataclass(frozen=True)
class ClusterSettings:
    """A Dask cluster.

    Args:
        scheduler: its address, such as ``tcp://head:8786`` or ``tls://head:8786``.
        scheduler_file: that ``dask scheduler --scheduler-file`` wrote, in the place of an address.
        studies: that are there at one time, waiting for a worker or being made.
        resources: that a worker has to have free for a study, such as ``{"GPU": 1}``, by the names that
            ``dask worker --resources`` gave them.
        folder: under which the workers see the folder of the batch; by default that of the service.
        tls: files for all connections with the cluster; the address then begins with ``tls://``.

    Raises:
        UsageError: not one of ``scheduler`` and ``scheduler_file``; files for TLS and an address without, or the other
            way round.
    """

    scheduler: str | None = None
    scheduler_file: Path | None = None
    studies: int = 8
    resources: Mapping[str, float] = field(default_factory=dict)
    folder: Path | None = None
    tls: TlsFiles | None = None

    def __post_init__(self) -> None:
        if (self.scheduler is None) == (self.scheduler_file is None):
            got = "none" if self.scheduler is None else "both"
            raise UsageError(f"cluster: expected one of scheduler and scheduler_file, got {got}; name one")
        if self.scheduler is not None:
            self._check_encryption(self.scheduler)

    @property
    def place(self) -> str:
        """What was named, for messages."""
        return self.scheduler or str(self.scheduler_file)

    def address(self) -> str:
        """Where the scheduler is now; a file may say another place after each start of it.

        Raises:
            OSError: the file cannot be read, or is not written to its end.
            UsageError: it is none that a scheduler wrote, or tells of another encryption than the settings.
        """
        if self.scheduler is not None:
            return self.scheduler
        assert self.scheduler_file is not None
        text = self.scheduler_file.read_text(encoding="utf-8")
        if not text.strip() or (text.lstrip().startswith("{") and not text.rstrip().endswith("}")):
            raise BlockingIOError("a file that is not written to its end")
        try:
            found = str(json.loads(text)["address"])
        except (ValueError, TypeError, LookupError):
            raise UsageError(
                f"{self.scheduler_file}: expected what 'dask scheduler --scheduler-file' writes, got something else; "
                "name that file"
            ) from None
        self._check_encryption(found)
        return found

    def _check_encryption(self, address: str) -> None:
        encrypted = address.startswith(_ENCRYPTED)
        if encrypted and self.tls is None:
            raise UsageError(f"cluster: expected files for TLS with {address}, got none; name them under tls")
        if self.tls is not None and not encrypted:
            raise UsageError(
                f"cluster: expected an address that begins with tls:// where files for TLS are named, got {address}; "
                "start the scheduler with TLS, or leave the files out"
            )
