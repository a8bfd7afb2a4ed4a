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
    """How many statements ran, before which one to be killed, and where the disk is kept then."""

    fatal: int | None
    kept: Path
    statements: int = 0

    def count(self, database: Path) -> None:
        if self.statements == self.fatal:
            self.fatal = None
            keep(database, self.kept)
            raise Killed
        self.statements += 1


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
    real = sqlite3.connect

    class Mortal(sqlite3.Connection):
        def execute(self, statement, *values):
            watch.count(self.path)
            return super().execute(statement, *values)

    def connect(path, **options):
        connection = real(path, factory=Mortal, **options)
        connection.path = path
        return connection

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", connect)
        yield watch
