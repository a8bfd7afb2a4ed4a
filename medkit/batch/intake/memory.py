"""What a source remembers from one run to the next. To lose it costs time, but no instance: all is looked at again."""

from __future__ import annotations

import json
import sqlite3
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Memory"]


class Memory:
    """Keys to JSON objects in a file of SQLite; for one process, and its threads.

    No patient stands in it where keys are hashes and values hold none.

    Args:
        path: the file; made where there is none, for its owner alone.

    Raises:
        UsageError: the file is another, or damaged.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        self._lock = Lock()
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(
                "PRAGMA synchronous = NORMAL"
            )  # or each file waits for the disk once more
            self._connection.execute("CREATE TABLE IF NOT EXISTS memory (key TEXT PRIMARY KEY, value TEXT)")
            rows = self._connection.execute("SELECT key, value FROM memory").fetchall()
        except sqlite3.Error as error:
            self._connection.close()
            raise UsageError(
                f"{path}: expected the memory of a source, got: {error}; remove it, and all is looked at again"
            ) from error
        self._held: dict[str, dict[str, Any]] = {key: json.loads(value) for key, value in rows}

    def close(self) -> None:
        """Close the file, when no other thread writes."""
        with self._lock:
            self._connection.close()

    def get(self, key: str) -> dict[str, Any] | None:
        """What is remembered under a key."""
        return self._held.get(key)

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Remember; kept through a crash of the process, and mostly through a power cut.

        Raises:
            OSError: it cannot be written, on a full disk for one; what was remembered before still is.
        """
        with self._lock, _writing():
            self._connection.execute("INSERT OR REPLACE INTO memory VALUES (?, ?)", (key, json.dumps(value)))
            self._held[key] = value

    def drop(self, key: str) -> None:
        """Forget; raises what :meth:`put` does."""
        with self._lock, _writing():
            self._connection.execute("DELETE FROM memory WHERE key = ?", (key,))
            self._held.pop(key, None)

    def items(self) -> list[tuple[str, dict[str, Any]]]:
        """All that is remembered."""
        with self._lock:
            return list(self._held.items())


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(f"the memory of a source cannot be written: {error}") from error
