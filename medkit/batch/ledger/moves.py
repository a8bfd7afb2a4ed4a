"""What every change of the ledger is made of: moves that are checked and journalled, and claims that are still held."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medkit.batch.identity import is_hash
from medkit.batch.ledger.database import transaction
from medkit.batch.ledger.states import (
    LEASED,
    TRANSITIONS,
    IllegalTransition,
    LeaseLost,
    LedgerError,
    Stage,
    State,
)
from medkit.batch.ledger.view import LedgerView

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Claim", "LedgerMoves", "Policy"]

_CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_REASON_LETTERS = 500
_CUT = " ..."


@dataclass(frozen=True)
class Policy:
    """How patient the ledger is.

    Args:
        attempts: how often a stage of a study is tried before the study is quarantined. A lost lease counts: a study
            that kills its worker is as bad as one that fails.
        lease_seconds: how long a worker is believed to be alive without a word from it.
        delay_seconds: wait after the first failure; it doubles with each further one.
        longest_delay_seconds: and never becomes longer than this.
    """

    attempts: int = 3
    lease_seconds: float = 120.0
    delay_seconds: float = 60.0
    longest_delay_seconds: float = 3600.0

    def delay(self, attempts: int) -> float:
        """Seconds to wait after so many failed attempts."""
        return min(self.delay_seconds * 2.0 ** min(attempts - 1, 60), self.longest_delay_seconds)


@dataclass(frozen=True)
class Claim:
    """A worker's right to one stage of one revision, until its lease runs out.

    Args:
        study: hash of its UID.
        revision: its number, from 1.
        digest: hash of the instances that it is made of.
        stage: what it was claimed for.
        attempt: from 1.
        token: tells this claim from earlier and later ones of the same revision.
        until: when the lease runs out, by the ledger's clock. Nothing may be sent after it.
    """

    study: str
    revision: int
    digest: str
    stage: Stage
    attempt: int
    token: int
    until: float


class LedgerMoves(LedgerView):
    """Move revisions from state to state; see :class:`medkit.batch.ledger.Ledger` for the arguments."""

    def __init__(
        self,
        path: Path,
        owner: str,
        policy: Policy | None = None,
        clock: Callable[[], float] = time.time,
        *,
        actor: str | None = None,
    ) -> None:
        if not owner:
            raise LedgerError(f"{path}: expected the name of who writes to the ledger, got none")
        super().__init__(path, clock, create=True)
        self.owner, self._actor = owner, actor or owner
        self.policy = policy or Policy()
        self._is_part = False

    @contextmanager
    def together(self) -> Iterator[None]:
        """All changes of the block are one: they hold when it ends, and none of them where it raises.

        What has to be told elsewhere of a change belongs behind it, as the last thing of the block: a crash between
        leaves something told that was not done, and never the other way round.
        """
        with self._changing():
            self._is_part = True
            try:
                yield
            finally:
                self._is_part = False

    @contextmanager
    def _changing(self, *, synced: bool = True) -> Iterator[None]:
        with self._guarded():
            if self._is_part:  # other threads wait
                yield
                return
            with transaction(self._connection, synced=synced):
                yield

    def _move(
        self,
        row: sqlite3.Row,
        after: State,
        now: float,
        code: str | None,
        reason: str | None,
        *,
        whole: bool = False,
        **columns: Any,
    ) -> None:
        """Put a revision into another state, with other columns; whoever held it holds it no longer.

        Of a reason no more than the first words are kept, unless it is wanted whole.
        """
        before = State(row["state"])
        if after not in TRANSITIONS[before]:
            raise IllegalTransition(
                f"study {row['study']}, revision {row['number']}: cannot go from {before} to {after}"
            )
        code, reason = _checked_code(code), _one_line(reason, whole=whole)
        changed: dict[str, Any] = {"owner": None, "lease_until": None, "since": now, **columns}
        changed |= {"state": after, "code": code, "reason": reason}
        names = ", ".join(f"{name} = ?" for name in changed)
        self._run(f"UPDATE revisions SET {names} WHERE id = ?", *changed.values(), row["id"])
        self._journal(now, row["study"], row["number"], before, after, code, reason, whole=whole)

    def _explain(self, row: sqlite3.Row, state: State, now: float, code: str, reason: str) -> None:
        """Say something more of a revision that stays in its state."""
        said = (_checked_code(code), _one_line(reason, whole=False))
        self._run("UPDATE revisions SET code = ?, reason = ? WHERE id = ?", *said, row["id"])
        self._journal(now, row["study"], row["number"], state, state, code, reason)

    def _journal(
        self,
        now: float,
        study: str,
        revision: int | None,
        before: State | None,
        after: State,
        code: str | None,
        reason: str | None,
        *,
        whole: bool = False,
    ) -> None:
        code, reason = _checked_code(code), _one_line(reason, whole=whole)
        self._run(
            "INSERT INTO journal (at, actor, study, revision, before, after, code, reason) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *(now, self._actor, study, revision, before, after, code, reason),
        )

    def _expire(self, now: float) -> int:
        """Take back what silent workers hold."""
        rows = self._all("SELECT * FROM revisions WHERE lease_until <= ? ORDER BY id", now)
        for row in rows:
            (stage,) = [stage for stage in Stage if stage.leased == row["state"]]
            state = State.QUARANTINED if self._used_up(row) else stage.back
            reason = f"nothing was heard of {row['owner']} at attempt {row['attempts']}"
            self._move(row, state, now, "lease-lost", reason, not_before=now)
        return len(rows)

    def _used_up(self, row: sqlite3.Row) -> bool:
        return bool(row["attempts"] >= self.policy.attempts)

    def _held(self, claim: Claim, now: float, stage: Stage | None = None) -> sqlite3.Row:
        """The revision of a claim, as long as it is this worker's, and where it is for this stage."""
        if stage not in (None, claim.stage):
            raise IllegalTransition(f"study {claim.study}: expected it claimed to {stage}, got {claim.stage}")
        row: sqlite3.Row | None = self._one(
            "SELECT * FROM revisions WHERE study = ? AND number = ? AND token = ? AND state = ? AND owner = ?",
            *(claim.study, claim.revision, claim.token, claim.stage.leased, self.owner),
        )
        if row is None or row["lease_until"] <= now:
            raise LeaseLost(
                f"study {claim.study}, revision {claim.revision}: no longer {self.owner}'s to {claim.stage}; leave it"
            )
        return row

    def _latest(self, study: str) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._one(
            "SELECT * FROM revisions WHERE study = ? ORDER BY number DESC LIMIT 1", study
        )
        return row

    def _check_at_end(self, study: str) -> None:
        record = self.study(study)
        if record.ended:
            return
        if record.arriving:
            got = "being received; wait until it is complete"
        elif record.state in LEASED:
            got = f"{record.state}; wait until its worker is done"
        else:
            got = f"{record.state}; set it aside first (medkit batch quarantine)"
        raise IllegalTransition(f"study {study}: expected it at an end, got {got}")

    def _check_hash(self, name: str, value: str) -> None:
        if not is_hash(value):
            raise LedgerError(f"expected a SHA-256 in small hexadecimal digits as {name}, got {value!r}")

    def _run(self, statement: str, *values: Any) -> bool:
        """Change something; whether there was anything to change."""
        return self._connection.execute(statement, values).rowcount > 0


def _checked_code(code: str | None) -> str | None:
    if code is not None and not _CODE.fullmatch(code):
        raise LedgerError(f"expected a code in kebab case, such as file-truncated, got {code!r}")
    return code


def _one_line(reason: str | None, *, whole: bool) -> str | None:
    if not reason:
        return None
    line = " ".join(reason.split())
    if whole or len(line) <= _REASON_LETTERS:
        return line
    kept = line[: _REASON_LETTERS - len(_CUT) + 1].rpartition(" ")[0] or line[: _REASON_LETTERS - len(_CUT)]
    return kept + _CUT
