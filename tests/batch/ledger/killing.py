"""``kill -9`` before any statement, played within one process: what the disk had then is kept, and read by the next."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class Killed(BaseException):
    """No handler of a program sees a ``kill -9``; nothing that runs after this one touches the copy."""


@dataclass
class Watch:
    """How many statements ran, and before which one to be killed."""

    fatal: int | None
    kept: Path | None
    statements: int = 0


def keep(database: Path, folder: Path) -> None:
    """Copy what is on disk: the file and its log. The shared memory beside them is gone with its processes."""
    folder.mkdir(parents=True)
    for name in (database.name, f"{database.name}-wal"):
        if (database.parent / name).exists():
            shutil.copy(database.parent / name, folder / name)


@contextmanager
def killed_before(monkeypatch, number, folder):
    """Raise :class:`Killed` before the statement of this number, counted from 0, with the disk kept in ``folder``."""
    watch = Watch(number, folder)

    class Mortal(sqlite3.Connection):
        def execute(self, statement, *values):
            if watch.statements == watch.fatal:
                watch.fatal = None
                keep(Path(self.database), watch.kept)
                raise Killed
            watch.statements += 1
            return super().execute(statement, *values)

    def connect(path, **options):
        connection = real(path, factory=Mortal, **options)
        connection.database = path
        return connection

    real = sqlite3.connect
    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", connect)
        yield watch
