"""The way of each object to its destination: sent, read back, and withdrawn when it no longer counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medkit.batch.ledger.moves import Claim, LedgerMoves
from medkit.batch.ledger.states import DECIDED, PARTLY_REFUSED, IllegalTransition, Stage, State

if TYPE_CHECKING:
    import sqlite3

__all__ = ["LedgerDelivery"]


class LedgerDelivery(LedgerMoves):
    """Record the delivery of a study that is claimed for it; see :class:`medkit.batch.ledger.Ledger`.

    Raises, in every method that takes a claim:
        LeaseLost: the lease ran out, or the study was superseded.
    """

    def sending(self, claim: Claim, uid: str, destination: str) -> None:
        """Note that an object is about to be sent: from now on it may be there, whatever happens.

        Raises:
            IllegalTransition: it was delivered already; an object of an earlier revision has to be withdrawn first;
                or there is no such object.
        """
        with self._changing():
            now = self._clock()
            revision, result = self._in_delivery(claim, uid, destination, now)
            if result["delivered_at"] is not None:
                raise IllegalTransition(f"object {uid}: was delivered to {destination} already; read it back")
            self._check_nothing_to_withdraw(claim.study)
            self._stamp("sending_at", now, revision, uid, destination)

    def sent(self, claim: Claim, uid: str, destination: str) -> None:
        """Note that a destination has an object: it said so, or was found to have it after a crash.

        Raises:
            IllegalTransition: :meth:`sending` was not called, it was delivered already, or there is no such object.
        """
        with self._changing():
            now = self._clock()
            revision, result = self._in_delivery(claim, uid, destination, now)
            if result["sending_at"] is None or result["delivered_at"] is not None:
                raise IllegalTransition(f"object {uid}: expected it on its way to {destination}")
            self._stamp("delivered_at", now, revision, uid, destination)

    def verified(self, claim: Claim, uid: str, destination: str, sha256: str) -> None:
        """Note that an object was read back, with its hash.

        Raises:
            IllegalTransition: it was not delivered, or what was read back is not what was made.
        """
        with self._changing():
            now = self._clock()
            revision, result = self._in_delivery(claim, uid, destination, now)
            if result["delivered_at"] is None:
                raise IllegalTransition(f"object {uid}: expected it at {destination} before it is read back")
            if result["sha256"] != sha256:
                raise IllegalTransition(
                    f"object {uid}: expected {result['sha256']} to be read back from {destination}, got {sha256}"
                )
            self._stamp("verified_at", now, revision, uid, destination)

    def delivered(self, claim: Claim) -> None:
        """Say that a study is done.

        Raises:
            IllegalTransition: an object was not read back, or one of an earlier revision was not withdrawn.
        """
        with self._changing():
            now = self._clock()
            row = self._held(claim, now, Stage.DELIVER)
            self._check_nothing_to_withdraw(claim.study)
            (left,) = self._one(
                "SELECT count(*) FROM results WHERE revision = ? AND verified_at IS NULL", row["id"]
            )
            if left:
                raise IllegalTransition(
                    f"study {claim.study}: expected every object to be read back, {left} were not"
                )
            said = self._said_when_made(row)
            self._move(row, State.DELIVERED, now, said and PARTLY_REFUSED, said)

    def withdrawing(self, study: str, uid: str, destination: str) -> None:
        """Note that a destination is about to be told that an object of an earlier revision does not count any more.

        From now on no revision may have an object of this UID there: what is told may stand for ever, whatever happens.

        Raises:
            IllegalTransition: the object was never sent; or it counts, or may do so, for the latest revision has it or
                is not made yet.
        """
        with self._changing():
            latest = self._latest(study)
            if latest is None or State(latest["state"]) not in DECIDED:
                raise IllegalTransition(
                    f"study {study}: expected its latest revision to be made or refused first"
                )
            rows = self._all(
                "SELECT revision FROM results WHERE study = ? AND uid = ? AND destination = ? "
                "AND (sending_at IS NOT NULL OR revision = ?)",
                *(study, uid, destination, latest["id"]),
            )
            if not rows or latest["id"] in [row["revision"] for row in rows]:
                raise IllegalTransition(f"object {uid}: is not to be withdrawn from {destination}")
            self._run(
                "UPDATE results SET withdrawing_at = coalesce(withdrawing_at, ?) WHERE study = ? AND uid = ? "
                "AND destination = ? AND sending_at IS NOT NULL",
                *(self._clock(), study, uid, destination),
            )

    def withdrawn(self, study: str, uid: str, destination: str) -> None:
        """Note that a destination was told that an object of an earlier revision does not count any more.

        Raises:
            IllegalTransition: it is not among :meth:`withdrawals`, or :meth:`withdrawing` was not called.
        """
        with self._changing():
            due = [(one.uid, one.destination) for one in self.withdrawals(study)]
            if (uid, destination) not in due:
                raise IllegalTransition(f"object {uid}: is not to be withdrawn from {destination}")
            if uid not in self.withdrawn_uids(study):
                raise IllegalTransition(
                    f"object {uid}: expected word before it was withdrawn from {destination}"
                )
            self._run(
                "UPDATE results SET withdrawn_at = ? WHERE study = ? AND uid = ? AND destination = ? "
                "AND withdrawing_at IS NOT NULL AND withdrawn_at IS NULL",
                *(self._clock(), study, uid, destination),
            )

    def _said_when_made(self, row: sqlite3.Row) -> str | None:
        """What of a revision was wanted and refused, if anything."""
        said = self._one(
            "SELECT reason FROM journal WHERE study = ? AND revision = ? AND code = ? ORDER BY seq DESC LIMIT 1",
            *(row["study"], row["number"], PARTLY_REFUSED),
        )
        return None if said is None else said["reason"]

    def _in_delivery(self, claim: Claim, uid: str, destination: str, now: float) -> tuple[int, sqlite3.Row]:
        """Row number of the claimed revision, and one of its objects."""
        row = self._held(claim, now, Stage.DELIVER)
        result = self._one(
            "SELECT * FROM results WHERE revision = ? AND uid = ? AND destination = ?",
            row["id"],
            uid,
            destination,
        )
        if result is None:
            raise IllegalTransition(f"study {claim.study}: has no object {uid} for {destination}")
        return row["id"], result

    def _stamp(self, column: str, now: float, revision: int, uid: str, destination: str) -> None:
        self._run(
            f"UPDATE results SET {column} = ? WHERE revision = ? AND uid = ? AND destination = ?",
            *(now, revision, uid, destination),
        )

    def _check_nothing_to_withdraw(self, study: str) -> None:
        if due := self.withdrawals(study):
            raise IllegalTransition(
                f"study {study}: expected the earlier object {due[0].uid} to be withdrawn from "
                f"{due[0].destination} first"
            )
