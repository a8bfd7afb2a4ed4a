"""The ledger's file: SQLite, in a mode that keeps what was committed through ``kill -9`` and a power cut.

Write-ahead log with ``synchronous=FULL`` (https://www.sqlite.org/pragma.html#pragma_synchronous): a commit has reached
the disk when it returns. Several processes of one machine may use the file; over a network file system the log does not
work (https://www.sqlite.org/wal.html), so the file belongs on a local disk.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from medkit.batch.durable import sync_folder
from medkit.batch.ledger.states import LedgerError, State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["SCHEMA_VERSION", "open_database", "transaction"]

SCHEMA_VERSION = 1
_APPLICATION = 0x6D6B6C67  # "mklg": tells a ledger from other files of SQLite
_BUSY_SECONDS = 60.0
_STATES = ", ".join(f"'{state}'" for state in State if state is not State.RECEIVING)
# Not of the first schema: a ledger that was begun without them gets them as it is opened.
_ADDED = (
    "CREATE INDEX IF NOT EXISTS by_reason ON revisions (state, code, since) WHERE code IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS results_by_uid ON results (uid)",
    "CREATE INDEX IF NOT EXISTS noted ON results (uid) WHERE withdrawing_at IS NOT NULL",
    """CREATE TABLE IF NOT EXISTS mode (
        row INTEGER PRIMARY KEY CHECK (row = 1),
        shadow INTEGER NOT NULL,
        about TEXT NOT NULL
    )""",
)
_SCHEMA = (
    """CREATE TABLE studies (
        study TEXT PRIMARY KEY CHECK (length(study) = 64),
        arrivals INTEGER NOT NULL,
        arriving_since REAL,
        last_arrival REAL NOT NULL,
        purged_at REAL,
        stray_until REAL
    )""",
    f"""CREATE TABLE revisions (
        id INTEGER PRIMARY KEY,
        study TEXT NOT NULL REFERENCES studies (study),
        number INTEGER NOT NULL,
        digest TEXT NOT NULL CHECK (length(digest) = 64),
        instances INTEGER NOT NULL CHECK (instances > 0),
        state TEXT NOT NULL CHECK (state IN ({_STATES})),
        attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
        not_before REAL NOT NULL,
        token INTEGER NOT NULL DEFAULT 0,
        owner TEXT,
        lease_until REAL,
        code TEXT,
        reason TEXT,
        recipe TEXT,
        made_at REAL,
        since REAL NOT NULL,
        UNIQUE (study, number),
        CHECK ((owner IS NULL) = (lease_until IS NULL)),
        CHECK ((owner IS NOT NULL) = (state IN ('running', 'delivering')))
    )""",
    "CREATE UNIQUE INDEX one_current ON revisions (study) WHERE state != 'superseded'",
    "CREATE INDEX due ON revisions (state, not_before)",
    "CREATE INDEX newest ON revisions (state, since)",
    """CREATE TABLE results (
        revision INTEGER NOT NULL REFERENCES revisions (id),
        study TEXT NOT NULL REFERENCES studies (study),
        uid TEXT NOT NULL,
        destination TEXT NOT NULL,
        sha256 TEXT NOT NULL CHECK (length(sha256) = 64),
        path TEXT NOT NULL,
        sending_at REAL,
        delivered_at REAL CHECK (delivered_at IS NULL OR sending_at IS NOT NULL),
        verified_at REAL CHECK (verified_at IS NULL OR delivered_at IS NOT NULL),
        withdrawing_at REAL CHECK (withdrawing_at IS NULL OR sending_at IS NOT NULL),
        withdrawn_at REAL CHECK (withdrawn_at IS NULL OR withdrawing_at IS NOT NULL),
        PRIMARY KEY (revision, uid, destination)
    )""",
    "CREATE INDEX results_of_study ON results (study)",
    """CREATE TABLE timings (
        revision INTEGER NOT NULL REFERENCES revisions (id),
        name TEXT NOT NULL,
        seconds REAL NOT NULL CHECK (seconds >= 0)
    )""",
    "CREATE INDEX timings_by_name ON timings (name, seconds)",
    """CREATE TABLE journal (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,
        actor TEXT NOT NULL,
        study TEXT NOT NULL,
        revision INTEGER,
        before TEXT,
        after TEXT NOT NULL,
        code TEXT,
        reason TEXT
    )""",
    "CREATE INDEX journal_of_study ON journal (study)",
    "CREATE INDEX journal_by_state ON journal (after, at)",
    """CREATE TRIGGER journal_is_not_changed BEFORE UPDATE ON journal
        BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END""",
    """CREATE TRIGGER journal_is_not_shortened BEFORE DELETE ON journal
        BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END""",
)


def open_database(path: Path, *, create: bool) -> sqlite3.Connection:
    """Open a ledger's file.

    Args:
        path: the file.
        create: make it where there is none.

    Raises:
        LedgerError: the file is no ledger or one of another schema version, or cannot be opened or kept safely; or there
            is none and none is to be made.
    """
    if not create and not path.is_file():
        raise LedgerError(f"{path}: expected a ledger, got no such file; check the path")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        connection = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise LedgerError(f"{path}: expected a file for the ledger, got: {error}") from error
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise LedgerError(f"{path}: expected a ledger, got: {error}; name another file") from error
    except BaseException:
        connection.close()
        raise
    sync_folder(path.parent)
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "BEGIN"
    )  # or the questions are answered by two moments, while another process makes the file
    _check_version(connection, path)  # before anything is written to a file that may not be ours
    connection.execute("COMMIT")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise LedgerError(
            f"{path}: expected a file system on which SQLite can keep a write-ahead log, got journal mode "
            f"'{mode}'; put the ledger on a local disk"
        )
    with transaction(connection):
        if not _check_version(connection, path):
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        for statement in _ADDED:
            connection.execute(statement)


def _check_version(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether there is a ledger already; another thing than a ledger or nothing at all is refused."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (application, version, tables) == (0, 0, 0):
        return False
    if application != _APPLICATION:
        raise LedgerError(f"{path}: expected a ledger, got another database; name another file")
    if version != SCHEMA_VERSION:
        raise LedgerError(
            f"{path}: expected a ledger of schema version {SCHEMA_VERSION}, got version {version}; it is not "
            "converted: let the medkit that made it finish its studies, and begin a new file"
        )
    return True


@contextmanager
def transaction(connection: sqlite3.Connection, *, synced: bool = True) -> Iterator[None]:
    """All of the block or nothing of it; the write lock is taken at once, so that what is read stays true.

    Args:
        connection: of :func:`open_database`.
        synced: it is on disk when the block ends. Otherwise ``kill -9`` takes nothing back, and a power cut no more than
            the last such blocks: those before a synced one are on disk with it.
    """
    if not synced:
        connection.execute("PRAGMA synchronous = NORMAL")
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    finally:
        if not synced:
            connection.execute("PRAGMA synchronous = FULL")
