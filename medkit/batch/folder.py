"""Where a batch keeps its things: one folder, which is all there is to back up, to watch and to move."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["JobFolder", "ServiceState", "existing_job"]

_LOOKED_AT = 0.2  # seconds for which who asks whether a service runs may hold the lock, and much more


class ServiceState(StrEnum):
    """Whether a service works on a batch; ``killed``: the last one did not end in good order."""

    RUNNING = "running"
    STOPPED = "stopped"
    KILLED = "killed"


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
    def sources(self) -> Path:
        """Folder of what each source remembers, see :class:`medkit.batch.intake.memory.Memory`."""
        return self.root / "sources"

    @property
    def notices(self) -> Path:
        """Folder of :class:`medkit.batch.notices.Notices`."""
        return self.root / "notices"

    @property
    def lock(self) -> Path:
        """File that the service which works on the batch holds locked."""
        return self.root / "service.lock"

    @property
    def service(self) -> Path:
        """File of :class:`medkit.batch.status.service_record.ServiceRecord`."""
        return self.root / "service.json"

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Have the folder for ourselves while the block runs.

        Raises:
            UsageError: a service holds it.
        """
        lock = FileLock(self.lock, timeout=_LOOKED_AT)
        try:
            lock.acquire()
        except Timeout:
            raise UsageError(
                f"{self.root}: expected a batch that no other service works on, got one that is running; stop it first"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def is_held(self) -> bool:
        """Whether a service holds the lock, or nobody can tell on this file system."""
        try:
            file = os.open(self.lock, os.O_RDONLY)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(file)
        return False

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
