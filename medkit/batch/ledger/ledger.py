"""The ledger: where every study is, who works on it, and what became of it, through any crash.

Each method is one transaction: it happens whole or not at all, and it is on disk when it returns, unless it says that a
power cut may take it back. A move that :data:`medkit.batch.ledger.states.TRANSITIONS` does not have raises and changes
nothing; each that happens is a line of an append-only journal, with time and actor. Studies are known by hashes; reasons
are kept as they are given, so give none with a patient in it.

A worker holds a study by a lease that it renews (:meth:`Ledger.heartbeat`). When the lease runs out, the study goes back
and somebody else may claim it; what the first worker then says about it is refused, for its token is no longer the
study's. So a study is finished once, however many workers believe that they have it. What they do outside the ledger
may happen twice, and must be such that this does no harm: results have UIDs derived from what they were made of;
:meth:`Ledger.sending` is called before an object leaves, so that after a crash one asks the destination first; and
nothing leaves after ``Claim.until``. Where a study is superseded while it is delivered, the later revision waits that
long.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from medkit.batch.identity import is_hash
from medkit.batch.ledger.keeping import LedgerKeeping
from medkit.batch.ledger.makers import makers_line
from medkit.batch.ledger.moves import Claim
from medkit.batch.ledger.states import (
    PARTLY_REFUSED,
    RETRIED,
    SET_ASIDE,
    SOURCE_PURGED,
    IllegalTransition,
    Stage,
    State,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from medkit.batch.ledger.records import Result

__all__ = ["Arrival", "Ledger"]

_DISMISSED = "dismissed"
_UNSET_ASIDE = {  # what else to do of studies that do not wait
    State.RECEIVING: "wait until it is complete",
    State.RUNNING: "a worker has it: wait until it is made",
    State.DELIVERING: "its results are being sent: wait until they are",
    State.DELIVERED: "nothing of it waits; results that are not to be used are taken back where they were sent, by a "
    "rejection note (docs/pacs.md)",
    State.REFUSED: "nothing is made of it, unless it comes anew or medkit batch retry says so",
    State.SKIPPED: "nothing is made of it, unless it comes anew or medkit batch retry says so",
    State.QUARANTINED: "it is set aside already, until medkit batch retry",
}
_RETRIED = (State.QUARANTINED, State.REFUSED, State.SKIPPED)


@dataclass(frozen=True)
class Arrival:
    """A study that is being received; ``arrivals`` tells whether something came since."""

    study: str
    arrivals: int
    last_arrival: float


class Ledger(LedgerKeeping):
    """Read and write a ledger; may be used by several threads, and by as many processes as open it themselves.

    Args:
        path: the file, on a local disk; made where there is none.
        owner: who writes: in the journal, and in the leases of what it claims. Unique among the workers.
        policy: how patient to be.
        clock: seconds since 1970 (UTC); all processes must agree on it.
        actor: who stands in the journal in the owner's place: who gives back what an owner had that is no more.

    Raises:
        LedgerError: see :func:`medkit.batch.ledger.database.open_database`; or no owner is given.
    """

    def receive(self, study: str) -> None:
        """Note that an instance of a study comes in. Call it before the instance is stored: a crash then loses nothing.

        Until :meth:`complete`, nobody can claim any revision of the study.

        Raises:
            LedgerError: ``study`` is no hash.
        """
        self._check_hash("study", study)
        if self._count_arrival(study):
            return
        with self._changing():
            now = self._clock()
            row = self._one("SELECT * FROM studies WHERE study = ?", study)
            if row is None:
                self._run("INSERT INTO studies VALUES (?, 1, ?, ?, NULL, NULL)", study, now, now)
            else:
                self._run(
                    "UPDATE studies SET arrivals = arrivals + 1, last_arrival = ?, "
                    "arriving_since = coalesce(arriving_since, ?) WHERE study = ?",
                    *(now, now, study),
                )
            if row is None or row["arriving_since"] is None:
                self._journal(now, study, None, None, State.RECEIVING, None, None)

    def _count_arrival(self, study: str) -> bool:
        """Count an instance of a study that is being received already; whether it is.

        A power cut may take the count back, but not that the study is being received; and nobody who compares counts
        (:meth:`complete`) lives through one.
        """
        with self._changing(synced=False):
            return self._run(
                "UPDATE studies SET arrivals = arrivals + 1, last_arrival = ? "
                "WHERE study = ? AND arriving_since IS NOT NULL",
                *(self._clock(), study),
            )

    def arrivals(self) -> list[Arrival]:
        """Studies that are being received: those of which nothing came for longest first.

        How long ago that was is no reason to call one complete: nobody may have listened since, or the clock was set.
        :func:`medkit.batch.intake.quiet.settle` waits.
        """
        with self.reading():
            rows = self._all(
                "SELECT * FROM studies WHERE arriving_since IS NOT NULL ORDER BY last_arrival, study"
            )
        return [Arrival(row["study"], row["arrivals"], row["last_arrival"]) for row in rows]

    def reopen(self, study: str, code: str, reason: str) -> Arrival:
        """Have a study completed anew, though nothing came, for a person says something else about what is there.

        Args:
            study: hash of its UID.
            code: what is done, in kebab case.
            reason: why.

        Raises:
            IllegalTransition: it is being received, its instances were purged, or there is no revision of it.
            LedgerError: there is no such study.
        """
        with self._changing():
            record, now = self.study(study), self._clock()
            if record.arriving or record.purged or not record.revision:
                got = (
                    "its instances purged"
                    if record.purged
                    else "it being received; wait until it is complete"
                )
                raise IllegalTransition(f"study {study}: expected all that is there of it at rest, got {got}")
            self._run(
                "UPDATE studies SET arrivals = arrivals + 1, arriving_since = ? WHERE study = ?", now, study
            )
            self._journal(now, study, None, None, State.RECEIVING, code, reason)
            row = self._one("SELECT * FROM studies WHERE study = ?", study)
        return Arrival(study, row["arrivals"], row["last_arrival"])

    def dismiss(self, arrival: Arrival, reason: str) -> None:
        """Await no longer what began to arrive, for nothing of it could be kept; what was made before stays.

        A study without a revision is none of the ledger's then; its journal is.

        Args:
            arrival: from :meth:`arrivals`, asked before it was looked at what there is.
            reason: why.

        Raises:
            IllegalTransition: more has come since ``arrival``, or the study is not being received.
        """
        study = arrival.study
        with self._changing():
            self._check_unchanged(arrival)
            latest = self._latest(study)
            if latest is None:
                state, number = State.RECEIVING, None
                self._run("DELETE FROM studies WHERE study = ?", study)
            else:
                state, number = State(latest["state"]), latest["number"]
                self._run("UPDATE studies SET arriving_since = NULL WHERE study = ?", study)
            self._journal(self._clock(), study, number, state, state, _DISMISSED, reason)

    def complete(self, arrival: Arrival, digest: str, instances: int, *, whole: bool = False) -> int | None:
        """Say that a study is all there: what was made of other instances is superseded.

        Args:
            arrival: from :meth:`arrivals`, asked before the instances were counted.
            digest: of all instances that there are now.
            instances: how many.
            whole: the archive was asked, and these are all. Where the study's instances had been purged, others than
                then are otherwise taken for the late part of a study whose first part is gone, and quarantined.

        Returns:
            The number of the new revision, or ``None`` where the instances are those of the latest one.

        Raises:
            IllegalTransition: more has come since ``arrival``, or the study is not being received.
            LedgerError: ``digest`` is no hash, or there are no instances.
        """
        self._check_hash("digest", digest)
        study = arrival.study
        with self._changing():
            now = self._clock()
            known = self._check_unchanged(arrival)
            latest = self._latest(study)
            anew = self._was_discarded(known)
            purged = known["purged_at"] is not None or (
                latest is not None and self._may_be_part(study, latest["number"])
            )
            self._run("UPDATE studies SET arriving_since = NULL, purged_at = NULL WHERE study = ?", study)
            if (
                latest is not None
                and latest["digest"] == digest
                and not (anew and State(latest["state"]) in _RETRIED)
            ):
                state = State(latest["state"])
                self._journal(now, study, latest["number"], state, state, "nothing-new", None)
                return None
            if latest is not None:
                if latest["state"] == State.DELIVERING:  # its worker does not know yet
                    self._run(
                        "UPDATE studies SET stray_until = ? WHERE study = ?", latest["lease_until"], study
                    )
                self._move(latest, State.SUPERSEDED, now, "study-changed", None)
            number = latest["number"] + 1 if latest is not None else 1
            self._begin(study, number, digest, instances, now, partial=purged and not (whole or anew))
        return number

    def _check_unchanged(self, arrival: Arrival) -> sqlite3.Row:
        known: sqlite3.Row | None = self._one("SELECT * FROM studies WHERE study = ?", arrival.study)
        if known is None or known["arriving_since"] is None or known["arrivals"] != arrival.arrivals:
            raise IllegalTransition(
                f"study {arrival.study}: expected that nothing came since it was looked at, got more; wait again"
            )
        return known

    def _begin(
        self, study: str, number: int, digest: str, instances: int, now: float, *, partial: bool
    ) -> None:
        state, code, reason = State.READY, None, None
        if partial:
            state, code = State.QUARANTINED, SOURCE_PURGED
            reason = (
                f"{instances} instances came after the earlier ones ({self._most_before(study, number)}) had been "
                "purged, and may be a part of the study; "
                "send all of them again, and then retry, which takes what is there for the whole"
            )
        self._run(
            "INSERT INTO revisions (study, number, digest, instances, state, not_before, since, code, reason) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(study, number, digest, instances, state, now, now, code, reason),
        )
        self._journal(now, study, number, None, state, code, reason)

    def claim(self, stage: Stage) -> Claim | None:
        """Take the study that waits longest for a stage; nobody else can have it until the lease runs out."""
        with self._changing():
            now = self._clock()
            self._expire(now)
            row = self._one(
                "SELECT r.* FROM revisions r JOIN studies s ON s.study = r.study "
                "WHERE state IN (?, ?) AND not_before <= ? AND arriving_since IS NULL "
                "AND (? OR coalesce(stray_until, 0) <= ?) ORDER BY not_before, id LIMIT 1",
                *(stage.sources[0], stage.sources[-1], now, stage is Stage.MAKE, now),
            )
            if row is None:
                return None
            claim = Claim(
                study=row["study"],
                revision=row["number"],
                digest=row["digest"],
                stage=stage,
                attempt=row["attempts"] + 1,
                token=row["token"] + 1,
                until=now + self.policy.lease_seconds,
            )
            self._move(
                row, stage.leased, now, None, None,
                attempts=claim.attempt, owner=self.owner, lease_until=claim.until, token=claim.token,
            )  # fmt: skip
            return claim

    def heartbeat(self, claim: Claim) -> Claim:
        """Renew the lease of a claim; return the claim as it is then.

        Raises:
            LeaseLost: it is too late, or the study was superseded.
        """
        with self._changing():
            now = self._clock()
            row = self._held(claim, now)
            until = now + self.policy.lease_seconds
            self._run("UPDATE revisions SET lease_until = ? WHERE id = ?", until, row["id"])
        return replace(claim, until=until)

    def expire(self) -> int:
        """Take back what was claimed by workers that are silent, as each :meth:`claim` does; return how many."""
        with self._changing():
            return self._expire(self._clock())

    def give_back(self, claim: Claim, code: str, reason: str, delay_seconds: float = 0.0) -> None:
        """Let a study wait without counting the attempt: a worker is stopped, an archive does not answer.

        Raises:
            LeaseLost: see :meth:`heartbeat`.
        """
        with self._changing():
            now = self._clock()
            row = self._held(claim, now)
            due = now + delay_seconds
            self._move(row, claim.stage.back, now, code, reason, attempts=row["attempts"] - 1, not_before=due)

    def fail(self, claim: Claim, code: str, reason: str) -> State:
        """Say that a stage went wrong; it is tried again later, or the study is quarantined. Returns its state.

        Raises:
            LeaseLost: see :meth:`heartbeat`.
        """
        with self._changing():
            now = self._clock()
            row = self._held(claim, now)
            due = now + self.policy.delay(row["attempts"])
            state = State.QUARANTINED if self._used_up(row) else claim.stage.again
            self._move(row, state, now, code, reason, not_before=due)
        return state

    def refuse(self, claim: Claim, code: str, reason: str) -> None:
        """Say that a study cannot be processed, which another attempt would not change.

        Raises:
            LeaseLost: see :meth:`heartbeat`.
            IllegalTransition: it is being delivered.
        """
        with self._changing():
            now = self._clock()
            self._move(self._held(claim, now, Stage.MAKE), State.REFUSED, now, code, reason)

    def skip(self, claim: Claim, code: str, reason: str) -> None:
        """Say that no rule wants a study; raises what :meth:`refuse` does."""
        with self._changing():
            now = self._clock()
            self._move(self._held(claim, now, Stage.MAKE), State.SKIPPED, now, code, reason)

    def made(
        self,
        claim: Claim,
        results: Sequence[Result],
        recipe: str,
        makers: Sequence[str] = (),
        refused: str | None = None,
    ) -> None:
        """Say that all results are on disk.

        An object that an earlier revision may have sent to the same destination is not made anew there: it goes on from
        where it was, and is read back again. One that was withdrawn may not come back: a rejection note may stand for
        ever.

        Args:
            claim: for ``make``.
            results: one for each object and destination; their times are not looked at.
            recipe: what they were made by, such as a hash of bundle digest, config and version.
            makers: the same for a person, each as ``NAME VERSION (DIGEST)``; the journal keeps them all, see
                :meth:`LedgerView.made_by`.
            refused: what of the study was wanted as well and refused, in one line; it stays said of the study, as
                :data:`PARTLY_REFUSED`, once it is delivered too.

        Raises:
            LeaseLost: see :meth:`heartbeat`.
            IllegalTransition: the claim is not for making; there are no results, the same one stands there twice or
                its hash is none; an object of this UID and other content may be at the destination; or one of this UID
                was withdrawn from it.
        """
        with self._changing():
            now = self._clock()
            row = self._held(claim, now, Stage.MAKE)
            self._move(
                row, State.MADE, now, None, makers_line(makers), whole=True,
                attempts=0, not_before=now, recipe=recipe, made_at=now,
            )  # fmt: skip
            if refused is not None:
                self._explain(row, State.MADE, now, PARTLY_REFUSED, refused)
            _check_results(claim, results)
            for result in results:
                sent = self._sent_before(claim.study, result)
                self._run(
                    "INSERT INTO results (revision, study, uid, destination, sha256, path, sending_at, delivered_at) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    *(
                        row["id"],
                        claim.study,
                        result.uid,
                        result.destination,
                        result.sha256,
                        result.path,
                        *sent,
                    ),
                )

    def _sent_before(self, study: str, result: Result) -> tuple[float | None, float | None]:
        """When an earlier revision's object of this UID was sent and delivered to where the result goes."""
        rows = self._all(
            "SELECT sha256, sending_at, delivered_at, withdrawing_at FROM results WHERE study = ? AND uid = ? "
            "AND destination = ? AND sending_at IS NOT NULL ORDER BY delivered_at",
            *(study, result.uid, result.destination),
        )
        if any(row["withdrawing_at"] is not None for row in rows):
            raise IllegalTransition(
                f"object {result.uid}: was withdrawn from {result.destination}; it needs another UID to come back"
            )
        if any(row["sha256"] != result.sha256 for row in rows):
            raise IllegalTransition(
                f"object {result.uid}: expected the content that {result.destination} may have, got another; "
                "another content needs another UID"
            )
        return (rows[-1]["sending_at"], rows[-1]["delivered_at"]) if rows else (None, None)

    def timed(self, claim: Claim, name: str, seconds: float) -> None:
        """Add what a part of a stage took; a power cut may take it back.

        Raises:
            LeaseLost: see :meth:`heartbeat`.
        """
        with self._changing(synced=False):
            row = self._held(claim, self._clock())
            self._run("INSERT INTO timings VALUES (?, ?, ?)", row["id"], name, seconds)

    def retry(self, study: str, reason: str) -> State:
        """Try a quarantined, refused or skipped study again, for a person has mended something. Returns its state.

        Where its results were purged (:meth:`results_purged`), it is made anew, as another revision.

        Raises:
            IllegalTransition: it is in another state, or its instances were purged.
        """
        with self._changing():
            now = self._clock()
            row = self._latest(study)
            if row is None or State(row["state"]) not in _RETRIED:
                got = (
                    row["state"]
                    if row is not None
                    else "no revision of it yet; where something of it was not taken, send it again"
                )
                raise IllegalTransition(
                    f"study {study}: expected it quarantined, refused or skipped, got {got}"
                )
            state = State.MADE if row["made_at"] is not None else State.READY
            record = self.study(study)
            if state is State.READY and record.purged:
                then = "and then retry"
                if self._was_discarded(self._one("SELECT * FROM studies WHERE study = ?", study)):
                    then = "what comes next counts as the whole study, and needs no retry"
                raise IllegalTransition(
                    f"study {study}: its instances were purged; send all of them again first; {then}"
                )
            if record.results_purged:  # the objects of a revision are made once
                self._move(row, State.SUPERSEDED, now, RETRIED, reason)
                self._begin(study, row["number"] + 1, row["digest"], row["instances"], now, partial=False)
            else:
                self._move(row, state, now, RETRIED, reason, attempts=0, not_before=now)
        return state

    def quarantine(self, study: str, reason: str) -> None:
        """Put a study that waits aside, because a person says so; :meth:`retry` takes it back.

        One that is quarantined already stays so: what the person says takes the place of its reason, and nobody is
        called for it any more. It holds for the instances that there are: with others, a later revision begins anew.

        Raises:
            IllegalTransition: it does not wait: a worker has it, it is at another end, it is being received for the
                first time, or was set aside before.
        """
        with self._changing():
            row, now = self._latest(study), self._clock()
            state = State.RECEIVING if row is None else State(row["state"])
            if row is not None and state in (State.READY, State.FAILED, State.MADE):
                self._move(row, State.QUARANTINED, now, SET_ASIDE, reason)
            elif row is not None and state is State.QUARANTINED and row["code"] != SET_ASIDE:
                self._explain(row, state, now, SET_ASIDE, reason)
            else:
                got = "no revision of it yet" if row is None else state
                raise IllegalTransition(
                    f"study {study}: expected it to wait (ready, failed or made) or quarantined, got {got}; "
                    f"{_UNSET_ASIDE[state]}"
                )


def _check_results(claim: Claim, results: Sequence[Result]) -> None:
    if not results:
        raise IllegalTransition(f"study {claim.study}: expected at least one result, got none")
    seen = set()
    for result in results:
        if not is_hash(result.sha256) or not (result.uid and result.destination and result.path):
            raise IllegalTransition(
                f"study {claim.study}: expected UID, destination, path and hash, got {result}"
            )
        if (result.uid, result.destination) in seen:
            raise IllegalTransition(f"object {result.uid}: is there twice for {result.destination}")
        seen.add((result.uid, result.destination))
