"""What is wrong with the parts of a service now, for the status: a file each, gone when the part is well again.

The ledger knows of studies alone. That an archive is not reached, or lets nobody in, is no study's fault: that
stands here.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from medkit.data.writing import UNFINISHED, write_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Kind", "Notice", "Notices"]

_SUFFIX = ".json"


class Kind(StrEnum):
    """What sort of part."""

    SOURCE = "source"
    DESTINATION = "destination"
    WITHDRAWAL = "withdrawal"
    CHORE = "chore"
    WORKERS = "workers"
    CLUSTER = "cluster"
    AUDIT = "audit"
    AUDIT_LINES = "audit-lines"


@dataclass(frozen=True)
class Notice:
    """Something that is wrong now.

    Args:
        kind: of the part.
        part: its name in settings and logs.
        code: in kebab case.
        message: one line for a person, without a patient in it.
        since: when it began, seconds since 1970.
        passing: it may be mended by itself, so that a person is called after a while alone.
        task: of the part, where others of its tasks may go well, such as ``sending``.
    """

    kind: Kind
    part: str
    code: str
    message: str
    since: float
    passing: bool = False
    task: str = ""

    @property
    def name(self) -> str:
        """How a person is told of the part."""
        return f"{self.part}-{self.task}" if self.task else self.part


class Notices:
    """Notices in a folder, at most one for each kind, part and task; for several processes.

    What cannot be written is not told, and stops nobody: the disk is full then, which the status tells.

    Args:
        folder: where; made when there is something to say.
        clock: seconds since 1970.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._clock = folder, clock

    def put(
        self, kind: Kind, part: str, code: str, message: str, *, passing: bool = False, task: str = ""
    ) -> None:
        """Say what is wrong; it began when it was first said with this code."""
        path = self._path(kind, part, task)
        before = _read(path)
        if before is not None and before.code == code:
            if before.message == message:
                return
            since = before.since
        else:
            since = self._clock()
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_text(path, json.dumps(asdict(Notice(kind, part, code, message, since, passing, task))))

    def clear(self, kind: Kind, part: str, task: str = "") -> None:
        """Say that a part is well."""
        with suppress(OSError):
            self._path(kind, part, task).unlink(missing_ok=True)

    def clear_all(self) -> None:
        """Forget all that was said: there is no service of which it could be true."""
        for path in self._paths():
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def all(self) -> list[Notice]:
        """All that is wrong now, in the order of their names."""
        return [notice for path in self._paths() if (notice := _read(path)) is not None]

    def _paths(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return sorted(
            path for path in self._folder.glob(f"*{_SUFFIX}") if not path.name.startswith(UNFINISHED)
        )

    def _path(self, kind: Kind, part: str, task: str) -> Path:
        name = f"{kind}-{part}+{task}" if task else f"{kind}-{part}"  # no part's name has a plus
        return self._folder / f"{name}{_SUFFIX}"


def _read(path: Path) -> Notice | None:
    """What a file says; nothing where it was just removed, or was damaged: a part that is not well says so again."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        given = json.loads(path.read_text(encoding="utf-8"))
        return Notice(**{**given, "kind": Kind(given["kind"])})
    return None
