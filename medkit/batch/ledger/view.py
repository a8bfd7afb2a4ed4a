"""What the ledger knows, for a status page, a command or a test: reading alone."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING, Any, Self

from medkit.batch.ledger.database import open_database
from medkit.batch.ledger.makers import names_maker
from medkit.batch.ledger.records import (
    Entry,
    Mode,
    Reason,
    Result,
    StudyRecord,
    Timing,
    Waiting,
    Withdrawal,
)
from medkit.batch.ledger.states import DECIDED, RETRIED, LedgerError, Stage, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["LedgerView"]


class LedgerView:
    """Read a ledger; may be used by several threads, and by as many processes as open it themselves.

    Args:
        path: the file.
        clock: seconds since 1970 (UTC).
        create: make it where there is none.

    Raises:
        LedgerError: see :func:`medkit.batch.ledger.database.open_database`.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time, *, create: bool = False) -> None:
        self.path = path
        self._clock = clock
        self._connection = open_database(path, create=create)
        self._lock = RLock()
        self._process = os.getpid()

    def close(self) -> None:
        """Close the file; what was committed is there without it. Other threads' questions are answered before."""
        if os.getpid() == self._process:  # SQLite forbids to close what a fork inherited
            with self._lock:
                self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def mode(self) -> Mode:
        """How the batch is run."""
        with self.reading():
            row = self._one("SELECT shadow, about FROM mode")
        return Mode() if row is None else Mode(bool(row["shadow"]), row["about"])

    def has_results(self) -> bool:
        """Whether anything was ever made."""
        with self.reading():
            return bool(self._one("SELECT EXISTS (SELECT 1 FROM results)")[0])

    def counts(self) -> dict[State, int]:
        """How many studies are in which state, by their latest revision; a study counts once."""
        with self.reading():
            found = dict.fromkeys(State, 0)
            rows = self._all("SELECT state, count(*) AS number FROM revisions GROUP BY state")
            found |= {State(row["state"]): row["number"] for row in rows}
            (known,) = self._one("SELECT count(*) FROM studies")
            (begun,) = self._one("SELECT count(DISTINCT study) FROM revisions")
        del found[State.SUPERSEDED]  # a revision, whose study is counted by its latest
        found[State.RECEIVING] = known - begun
        return found

    def studies(
        self,
        state: State | None = None,
        *,
        code: str | None = None,
        again: bool = False,
        newest_first: bool = False,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[StudyRecord]:
        """All studies, or those in one state, the longest in it first.

        Args:
            state: only those in it.
            code: only those that are in their state for this reason; one that is being received has none here, see
                :func:`medkit.batch.status.not_taken.with_what_was_not_taken`.
            again: with ``receiving``, also those that were begun before and of which more comes.
            newest_first: the last to come into its state first.
            limit: no more than so many.
            offset: and not the first so many.
        """
        which, since = "1", "since"
        if state is State.RECEIVING:
            which, since = "arriving_since IS NOT NULL AND (:again OR r.state IS NULL)", "arriving_since"
        elif state is not None:  # said so that an index has them in their order
            which, since = "r.state = :state", "r.since"
        if code is not None:
            which += " AND r.code = :code"
        down = "DESC" if newest_first else "ASC"
        with self.reading():
            rows = self._all(
                f"{_STUDIES} WHERE {which} ORDER BY {since} {down}, s.study {down} LIMIT :limit OFFSET :offset",
                state=state, code=code, again=again, limit=-1 if limit is None else limit, offset=offset,
            )  # fmt: skip
        return [_study(row) for row in rows]

    def find(self, beginning: str, limit: int = 10) -> list[str]:
        """Hashes of the studies that begin with these hexadecimal digits, in order, no more than ``limit``."""
        with self.reading():
            rows = self._all(
                "SELECT study FROM studies WHERE study >= ?1 AND substr(study, 1, length(?1)) = ?1 "
                "ORDER BY study LIMIT ?2",
                *(beginning, limit),
            )
        return [row["study"] for row in rows]

    def made_into(self, uid: str) -> list[str]:
        """Hashes of the studies, one at most, of which a result with this SOP Instance UID was made."""
        with self.reading():
            return [
                row["study"] for row in self._all("SELECT DISTINCT study FROM results WHERE uid = ?", uid)
            ]

    def reasons(self) -> list[Reason]:
        """Why studies are where they are, the commonest reason first; those without one are left out."""
        with self.reading():
            rows = self._all(
                "SELECT state, code, count(*) AS number, max(since) AS latest FROM revisions "
                f"WHERE code IS NOT NULL AND state != '{State.SUPERSEDED}' "
                "GROUP BY state, code ORDER BY number DESC, state, code",
            )
        return [Reason(State(row["state"]), row["code"], row["number"], row["latest"]) for row in rows]

    def last_arrival(self) -> float | None:
        """When the last instance came, seconds since 1970 (UTC)."""
        with self.reading():
            (last,) = self._one("SELECT max(last_arrival) FROM studies")
        return None if last is None else float(last)

    def entered(self, state: State, since: float) -> int:
        """How often a study came into a state from then on; ``receiving``: how often one began to arrive."""
        with self.reading():
            (number,) = self._one(
                "SELECT count(*) FROM journal WHERE after = ? AND at >= ? AND before IS NOT after",
                *(state, since),
            )
        return int(number)

    def last_entered(self, state: State) -> float | None:
        """When a study last came into a state."""
        with self.reading():
            (last,) = self._one("SELECT max(at) FROM journal WHERE after = ? AND before IS NOT after", state)
        return None if last is None else float(last)

    def arriving(self) -> Waiting:
        """Studies that are being received; the first is the one of which nothing came for longest."""
        with self.reading():
            row = self._one(
                "SELECT count(*), min(last_arrival) FROM studies WHERE arriving_since IS NOT NULL"
            )
        return Waiting(*row)

    def arriving_longest(self) -> float | None:
        """Since when something came of the study that is being received for longest, and no moment of rest."""
        with self.reading():
            (since,) = self._one("SELECT min(arriving_since) FROM studies")
        return None if since is None else float(since)

    def waiting(self, stage: Stage) -> Waiting:
        """Studies that wait for a stage or are in it, since they came to it or a person had them tried again.

        Neither a failure nor a worker that gives a study back begins that time anew.
        """
        states = (*stage.sources, stage.leased)
        came = (
            "before IS NULL"
            if stage is Stage.MAKE
            else f"before = '{State.RUNNING}' AND after = '{State.MADE}'"
        )
        with self.reading():
            row = self._one(
                f"SELECT count(*), min((SELECT max(at) FROM journal j WHERE j.study = r.study "
                f"AND j.revision = r.number AND ({came} OR j.code = '{RETRIED}'))) "
                f"FROM revisions r WHERE state IN ({', '.join('?' * len(states))})",
                *states,
            )
        return Waiting(*row)

    def overdue(self) -> Waiting:
        """Studies whose lease ran out and that nobody took back: no worker is alive."""
        with self.reading():
            row = self._one(
                f"SELECT count(*), min(lease_until) FROM revisions WHERE lease_until <= ? "
                f"AND state IN ('{State.RUNNING}', '{State.DELIVERING}')",
                self._clock(),
            )
        return Waiting(*row)

    def study(self, study: str) -> StudyRecord:
        """One study.

        Raises:
            LedgerError: it is not in the ledger.
        """
        with self.reading():
            row = self._one(f"{_STUDIES} WHERE s.study = ?", study)
        if row is None:
            raise LedgerError(f"{self.path}: expected the hash of a study in this ledger, got {study!r}")
        return _study(row)

    def results(self, study: str, revision: int) -> list[Result]:
        """The objects of a revision, by UID and destination."""
        with self.reading():
            rows = self._all(f"{_RESULTS} WHERE r.study = ? AND number = ?", study, revision)
        return [_result(row) for row in rows]

    def result_uids(self, study: str) -> set[str]:
        """UIDs of the objects of all revisions of a study, which are none of its sources."""
        with self.reading():
            rows = self._all("SELECT DISTINCT uid FROM results WHERE study = ?", study)
        return {row["uid"] for row in rows}

    def noted_uids(self) -> set[str]:
        """UIDs of all objects that a note withdrew, or may have: a destination was about to be told."""
        with self.reading():
            rows = self._all("SELECT DISTINCT uid FROM results WHERE withdrawing_at IS NOT NULL")
        return {row["uid"] for row in rows}

    def withdrawn_uids(self, study: str) -> set[str]:
        """UIDs of the objects of a study that were withdrawn from a destination, or are about to be."""
        with self.reading():
            rows = self._all(
                "SELECT DISTINCT uid FROM results WHERE study = ? AND withdrawing_at IS NOT NULL", study
            )
        return {row["uid"] for row in rows}

    def result_paths(self, study: str, uid: str) -> list[str]:
        """Where an object of a study lies, relative to the results folder, that of the latest revision first."""
        with self.reading():
            rows = self._all(
                "SELECT path FROM results WHERE study = ? AND uid = ? ORDER BY revision DESC", study, uid
            )
        return list(dict.fromkeys(row["path"] for row in rows))

    def withdrawals(self, study: str | None = None) -> list[Withdrawal]:
        """Objects of superseded revisions that may be at a destination and have to be withdrawn now.

        They wait until the later revision is made: an object that it has as well stays. They also wait while it is
        quarantined, for a person; where it is refused or skipped, nothing of the study may stay. Last, they wait until
        the worker that was about to send them when they were superseded can do so no more.
        """
        with self.reading():
            rows = self._all(_WITHDRAWALS, study, self._clock())
        return [Withdrawal(row["study"], row["uid"], row["destination"]) for row in rows]

    def history(self, study: str | None = None, latest: int | None = None) -> list[Entry]:
        """The journal in its order, of one study or of all, or no more than so many of its latest lines."""
        with self.reading():
            rows = self._all(
                "SELECT * FROM (SELECT * FROM journal WHERE ?1 IS NULL OR study = ?1 ORDER BY seq DESC LIMIT ?2) "
                "ORDER BY seq",
                *(study, -1 if latest is None else latest),
            )
        return [_entry(row) for row in rows]

    def made_by(self, maker: str | None = None) -> list[Entry]:
        """The lines of the journal in which results were made by a maker, or by any, in their order.

        Args:
            maker: see :func:`medkit.batch.ledger.makers.names_maker`.
        """
        with self.reading():
            rows = self._all("SELECT * FROM journal WHERE after = 'made' AND before = 'running' ORDER BY seq")
        return [_entry(row) for row in rows if maker is None or names_maker(row["reason"], maker)]

    def timings(self, latest: int | None = None) -> dict[str, Timing]:
        """What each part of a stage took, by name: of all that was timed, or of so many measurements, the latest."""
        with self.reading():
            rows = self._all(
                "SELECT name, count(*) AS number, sum(seconds) AS total, max(seconds) AS longest "
                f"FROM {_LATEST_TIMINGS if latest is not None else 'timings'} GROUP BY name ORDER BY name",
                *([] if latest is None else [latest]),
            )
        return {row["name"]: Timing(row["number"], row["total"], row["longest"]) for row in rows}

    def faults(self) -> list[str]:
        """What is wrong with the file: damage, and revisions that are not where the journal left them."""
        with self.reading():
            found = [str(row[0]) for row in self._all("PRAGMA integrity_check") if row[0] != "ok"]
            found += [f"row without its parent in {row[0]}" for row in self._all("PRAGMA foreign_key_check")]
            last = {(row["study"], row["revision"]): row["after"] for row in self._all(_LAST_ENTRIES)}
            rows = self._all("SELECT study, number, state FROM revisions")
        for row in rows:
            said = last.pop((row["study"], row["number"]), "nothing")
            if said != row["state"]:
                found.append(
                    f"study {row['study']}, revision {row['number']}: state {row['state']}, journal {said}"
                )
        return found + [f"study {study}, revision {number}: only in the journal" for study, number in last]

    @contextmanager
    def reading(self) -> Iterator[None]:
        """All that is read in the block is of one moment."""
        with self._guarded():
            if self._connection.in_transaction:  # within a change, which sees its own
                yield
                return
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("ROLLBACK")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        if os.getpid() != self._process:
            raise LedgerError(f"{self.path}: opened before a fork; open the ledger anew in each process")
        try:
            with self._lock:
                yield
        except sqlite3.Error as error:
            raise LedgerError(
                f"{self.path}: the ledger cannot be read or written: {error}; nothing was changed; look at the disk"
            ) from error

    def _all(self, statement: str, *values: Any, **named: Any) -> list[sqlite3.Row]:
        return self._connection.execute(statement, named or values).fetchall()

    def _one(self, statement: str, *values: Any) -> Any:
        return self._connection.execute(statement, values).fetchone()


_STUDIES = f"""SELECT s.study, coalesce(r.state, '{State.RECEIVING}') AS state, arriving_since IS NOT NULL AS arriving,
    coalesce(number, 0) AS number, coalesce(digest, '') AS digest, coalesce(instances, 0) AS instances,
    coalesce(attempts, 0) AS attempts, owner, coalesce(since, arriving_since) AS since, code, reason, recipe,
    purged_at IS NOT NULL AS purged,
    made_at IS NULL AND EXISTS (SELECT 1 FROM results WHERE revision = r.id) AS results_purged
    FROM studies s LEFT JOIN revisions r ON r.study = s.study AND r.state != '{State.SUPERSEDED}'"""

_LATEST_TIMINGS = "(SELECT name, seconds FROM timings ORDER BY rowid DESC LIMIT ?)"

_RESULTS = "SELECT results.* FROM results JOIN revisions r ON r.id = results.revision"

_LAST_ENTRIES = """SELECT study, revision, after FROM journal WHERE seq IN
    (SELECT max(seq) FROM journal WHERE revision IS NOT NULL GROUP BY study, revision)"""

_DECIDED = ", ".join(f"'{state}'" for state in sorted(DECIDED))
# What may be at a destination, where the latest revision is far enough to say that it has no such object.
_WITHDRAWALS = f"""SELECT DISTINCT old.study, old.uid, old.destination
    FROM results old
    JOIN studies s ON s.study = old.study AND coalesce(s.stray_until, 0) <= ?2
    JOIN revisions r ON r.id = old.revision AND r.state = '{State.SUPERSEDED}'
    JOIN revisions latest ON latest.study = old.study AND latest.state IN ({_DECIDED})
    WHERE (?1 IS NULL OR old.study = ?1) AND old.sending_at IS NOT NULL AND old.withdrawn_at IS NULL AND NOT EXISTS (
        SELECT 1 FROM results new WHERE new.revision = latest.id
        AND new.uid = old.uid AND new.destination = old.destination)
    ORDER BY old.study, old.uid, old.destination"""


def _study(row: sqlite3.Row) -> StudyRecord:
    return StudyRecord(
        study=row["study"],
        state=State(row["state"]),
        arriving=bool(row["arriving"]),
        revision=row["number"],
        digest=row["digest"],
        instances=row["instances"],
        attempts=row["attempts"],
        owner=row["owner"],
        since=row["since"],
        code=row["code"],
        reason=row["reason"],
        recipe=row["recipe"],
        purged=bool(row["purged"]),
        results_purged=bool(row["results_purged"]),
    )


def _entry(row: sqlite3.Row) -> Entry:
    before = State(row["before"]) if row["before"] else None
    changed = (row["study"], row["revision"], before, State(row["after"]))
    return Entry(row["at"], row["actor"], *changed, row["code"], row["reason"])


def _result(row: sqlite3.Row) -> Result:
    return Result(
        uid=row["uid"],
        destination=row["destination"],
        sha256=row["sha256"],
        path=row["path"],
        sending_at=row["sending_at"],
        delivered_at=row["delivered_at"],
        verified_at=row["verified_at"],
        withdrawn_at=row["withdrawn_at"],
    )
