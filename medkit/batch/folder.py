"""Where a batch keeps its things: one folder, which is all there is to back up, to watch and to move."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medkit.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["JobFolder", "existing_job"]


@dataclass(frozen=True)
class JobFolder:
    """The names in the folder of a batch; nothing is made by asking for one.

    Args:
        root: the folder.
    """

    root: Path

    @property
    def ledger(self) -> Path:
        """File of :class:`medkit.batch.ledger.Ledger`."""
        return self.root / "ledger.sqlite"

    @property
    def spool(self) -> Path:
        """Folder of :class:`medkit.batch.spool.Spool`."""
        return self.root / "spool"

    @property
    def results(self) -> Path:
        """Folder to which the paths of results are relative."""
        return self.root / "results"

    @property
    def audit(self) -> Path:
        """Folder of :class:`medkit.batch.audit.AuditLog`."""
        return self.root / "audit"

    @property
    def notices(self) -> Path:
        """Folder of :class:`medkit.batch.notices.Notices`."""
        return self.root / "notices"

    @property
    def lock(self) -> Path:
        """File that the service which works on the batch holds locked."""
        return self.root / "service.lock"

    def was_abandoned(self) -> bool:
        """Whether the last service ended without letting go of the folder: its lock is there, and nobody holds it."""
        try:
            file = os.open(self.lock, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:  # held, or nobody can tell on this file system
            return False
        finally:
            os.close(file)
        return True

    @property
    def work(self) -> Path:
        """Folder for what may be lost."""
        return self.root / "work"


def existing_job(root: Path) -> JobFolder:
    """The folder of a batch that was begun.

    Raises:
        UsageError: there is no ledger in it.
    """
    job = JobFolder(root)
    if not job.ledger.is_file():
        got = "none" if root.is_dir() else "no such folder"
        raise UsageError(
            f"{root}: expected the folder of a batch, with a {job.ledger.name} in it, got {got}; check the path"
        )
    return job
