"""What a batch keeps no longer: the instances of a study, to which a part of it may be added later, and its results."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from medkit.batch.ledger.delivery import LedgerDelivery
from medkit.batch.ledger.states import RETRIED, SOURCE_PURGED, LedgerError, State

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from medkit.batch.ledger.records import Mode

__all__ = ["LedgerKeeping"]

_MODE_CHANGED = "mode-changed"
_RESULTS_PURGED = "results-purged"
_DISCARDED, _PURGED = "instances-removed", "instances-purged"


class LedgerKeeping(LedgerDelivery):
    """Note what is about to be removed, of studies at their end alone; see :class:`medkit.batch.ledger.Ledger`."""

    def run_as(self, mode: Mode) -> bool:
        """Note how the batch is run from now on, which may change while nothing was made; whether it did.

        Studies that workers of before may still have at hand are taken from them: what they make is of the other mode.

        Raises:
            LedgerError: something was made otherwise.
        """
        with self._changing():
            if mode == (begun := self.mode()):
                return False
            if self.has_results():
                raise LedgerError(
                    f"{self.path}: expected it to be run {begun.told}, as it was, got {mode.told}"
                )
            now = self._clock()
            for row in self._all("SELECT * FROM revisions WHERE state = ?", State.RUNNING):
                tried = row["attempts"] - 1
                self._move(row, State.READY, now, _MODE_CHANGED, mode.told, attempts=tried, not_before=now)
            return self._run("INSERT OR REPLACE INTO mode VALUES (1, ?, ?)", mode.shadow, mode.about)

    def purged(self, study: str) -> None:
        """Note that a study's instances are about to be removed after their time, which only a finished study's may.

        Where that was noted before, also by :meth:`discard`, it stays as it was.

        Raises:
            IllegalTransition: the study is not at an end, or is being received.
            LedgerError: there is no such study.
        """
        with self._changing():
            self._check_at_end(study)
            now, state = self._clock(), self.study(study).state
            if self._run(
                "UPDATE studies SET purged_at = ? WHERE study = ? AND purged_at IS NULL", now, study
            ):
                number = self.study(study).revision
                self._journal(now, study, number, state, state, _PURGED, "their time was over")

    def discard(self, study: str, reason: str) -> None:
        """Note that a study's instances are about to be removed, for a person will have all of it sent again.

        What comes next is taken for all of it, and begun anew unless it was delivered and is the same.

        Raises:
            IllegalTransition: the study is not at an end, or is being received.
            LedgerError: there is no such study.
        """
        with self._changing():
            self._check_at_end(study)
            now, row = self._clock(), self._latest(study)
            assert row is not None  # or it were at no end
            state = State(row["state"])
            self._run("UPDATE studies SET purged_at = ? WHERE study = ?", now, study)
            self._journal(now, study, row["number"], state, state, _DISCARDED, reason)

    @contextmanager
    def at_end(self, study: str) -> Iterator[None]:
        """Keep a study at its end as long as the block runs: who has something of it waits, and nothing is taken.

        Raises:
            IllegalTransition: the study is not at an end, or is being received.
            LedgerError: there is no such study.
        """
        with self._changing():
            self._check_at_end(study)
            yield

    def _was_discarded(self, known: sqlite3.Row) -> bool:
        """Whether what was there of a study was removed by :meth:`discard`."""
        found = self._one(
            "SELECT 1 FROM journal WHERE study = ? AND code = ? AND at = ?",
            *(known["study"], _DISCARDED, known["purged_at"]),
        )
        return found is not None

    def said_whole(self, study: str, revision: int) -> tuple[int, int] | None:
        """Of what came after the earlier instances had been purged, and a person then said to be the whole study.

        Args:
            study: hash of its UID.
            revision: for which this is asked; what comes later adds to what was said to be the whole.

        Returns:
            How many instances that were, and how many there had been before at most; ``None`` where nothing of the kind
            was said, or all of the study was begun anew since (:meth:`discard`).
        """
        with self.reading():
            last = self._one(
                "SELECT code, revision FROM journal WHERE study = ? AND revision <= ? AND code IN (?, ?) "
                "ORDER BY seq DESC LIMIT 1",
                *(study, revision, SOURCE_PURGED, _DISCARDED),
            )
            if last is None or last["code"] == _DISCARDED:
                return None
            number = last["revision"]
            said = self._has_line(study, number, RETRIED)
            (came,) = self._one(
                "SELECT instances FROM revisions WHERE study = ? AND number = ?", study, number
            )
            return (came, self._most_before(study, number)) if said else None

    def _may_be_part(self, study: str, revision: int) -> bool:
        """Whether a revision came after a purge, and nobody said that it is the whole, though set it aside."""
        came_after = self._has_line(study, revision, SOURCE_PURGED)
        return came_after and not self._has_line(study, revision, RETRIED)

    def _has_line(self, study: str, revision: int, code: str) -> bool:
        line = "SELECT 1 FROM journal WHERE study = ? AND revision = ? AND code = ?"
        return self._one(line, study, revision, code) is not None

    def _most_before(self, study: str, revision: int) -> int:
        """How many instances a study had at most before a revision, which is none of its first."""
        (most,) = self._one(
            "SELECT max(instances) FROM revisions WHERE study = ? AND number < ?", study, revision
        )
        return int(most)

    def results_purged(self, study: str) -> None:
        """Note that a study's results are about to be reduced, which only a finished study's may.

        Where it is quarantined, they are delivered no more: they have to be made anew.

        Raises:
            IllegalTransition: the study is not at an end, or is being received.
            LedgerError: there is no such study.
        """
        with self._changing():
            self._check_at_end(study)
            row = self._latest(study)
            if row is not None and row["state"] == State.QUARANTINED and row["made_at"] is not None:
                self._run("UPDATE revisions SET made_at = NULL WHERE id = ?", row["id"])
                state = State.QUARANTINED
                self._journal(self._clock(), study, row["number"], state, state, _RESULTS_PURGED, None)
