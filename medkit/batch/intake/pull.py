"""Pull studies out of an archive, one after the other, when it may be asked, and go on after a crash where it was.

A study that is being pulled is marked as not whole from its first new instance to its last, so that whatever happens
between, no part of it is taken for the whole. What the archive says that it has is kept beside it for the reader.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections import Counter, deque
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from medkit.batch.hours import is_open
from medkit.batch.identity import hash_uid
from medkit.batch.intake.quiet import settle
from medkit.batch.ledger import Policy
from medkit.batch.spool import LOW_DISK, Mark, NotTaken
from medkit.dicom.network.archive import ArchiveDown, ArchiveRefused
from medkit.dicom.objects import read_uids

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from medkit.batch.hours import Hours
    from medkit.batch.intake.memory import Memory
    from medkit.batch.intake.requests import Request
    from medkit.batch.intake.take import Intake
    from medkit.dicom.network.archive import Archive

__all__ = ["UNFINISHED_PULL", "Puller", "Step"]

UNFINISHED_PULL = "pull-unfinished"
_TAKEN, _FAILED, _GIVEN_UP = "taken", "failed", "given-up"


class Step(StrEnum):
    """What a step of the puller did; after all but the first three, wait a while before the next."""

    PULLED = "pulled"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    IDLE = "idle"
    CLOSED = "closed"
    DOWN = "down"
    NO_ROOM = "no-room"


class Puller:
    """Pull what is asked for; one thread.

    Args:
        archive: where from.
        intake: the door.
        requests: what; of lists each study once, of lasting ones also what changes.
        memory: how far it came.
        windows: when the archive may be asked; a study that was begun is ended. None: always.
        instances_per_second: at most so many, on the average of a study; ``None``: as fast as it goes.
        round_seconds: between two times that all requests are gone through.
        policy: how often a study is tried, and how long it waits between; the same for an archive that does not answer.
        clock: seconds since 1970.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        archive: Archive,
        intake: Intake,
        requests: Sequence[Request],
        memory: Memory,
        *,
        windows: Sequence[Hours] = (),
        instances_per_second: float | None = None,
        round_seconds: float = 600.0,
        policy: Policy | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._archive, self._intake, self._requests, self._memory = archive, intake, requests, memory
        self._windows, self._rate, self._round = windows, instances_per_second, round_seconds
        self._policy, self._clock, self._sleep = policy or Policy(), clock, sleep
        self._ahead: deque[Request] = deque(requests)
        self._studies: deque[tuple[str, bool]] = deque()  # UIDs, and whether their request lasts
        self._next_round = clock() + round_seconds
        self._downs, self._silent_until = 0, 0.0

    def step(self) -> Step:
        """Take the next study, or the next search, if now is the time.

        Raises:
            OSError, LedgerError: see :meth:`medkit.batch.intake.take.Intake.take`; the study is pulled again later.
        """
        now = self._clock()
        if not is_open(self._windows, now):
            return Step.CLOSED
        if now < self._silent_until:
            return Step.DOWN
        try:
            self._intake.spool.check_space()
            step = self._next(now)
        except ArchiveDown:
            self._downs += 1
            self._silent_until = self._clock() + self._policy.delay(self._downs)
            return Step.DOWN
        except NotTaken:
            return Step.NO_ROOM
        self._downs = 0
        return step

    def failures(self) -> dict[str, str]:
        """Studies and searches that were given up: what they are remembered by, each with its code."""
        return {key: entry["code"] for key, entry in self._memory.items() if entry["outcome"] == _GIVEN_UP}

    def retry(self) -> None:
        """Try again, in the next round, what was given up: a person has mended something."""
        for key in self.failures():
            self._memory.drop(key)

    def _next(self, now: float) -> Step:
        while True:
            if self._studies:
                uid, lasting = self._studies[0]
                step = self._study(uid, lasting, now)
                self._studies.popleft()  # after an archive that did not answer, the same comes next
                if step is not None:
                    return step
            elif self._ahead:
                step = self._search(self._ahead[0], now)
                self._ahead.popleft()
                if step is not None:
                    return step
            elif now < self._next_round:
                return Step.IDLE
            else:
                self._ahead.extend(self._requests)
                self._next_round = now + self._round
                if not self._ahead:
                    return Step.IDLE

    def _search(self, request: Request, now: float) -> Step | None:
        """Put the studies of a request at the end of the row."""
        if request.study_uid:
            self._studies.append((request.study_uid, request.lasting))
            return None
        if self._rests(self._memory.get(request.key), now):
            return None
        try:
            found = self._archive.find(request.filters)
        except ArchiveRefused as refusal:
            return self._fail(request.key, refusal.code, now)
        if not found and not request.lasting:
            return self._fail(request.key, "not-found", now)
        self._memory.drop(request.key)
        self._studies.extend((match.study_uid, request.lasting) for match in found)
        return None

    def _study(self, uid: str, lasting: bool, now: float) -> Step | None:
        study = hash_uid(uid)
        entry = self._memory.get(study)
        if entry is not None and not lasting and entry["outcome"] == _TAKEN:
            return None
        if self._rests(entry, now):
            return None
        try:
            counts = self._archive.counts(uid)
            digest = hashlib.sha256(json.dumps(counts, sort_keys=True).encode()).hexdigest()
            if entry is not None and entry["outcome"] == _TAKEN and entry["counts"] == digest:
                return Step.UNCHANGED
            if not counts:
                return self._fail(study, "not-found", now, study=study)
            self._pull(uid, counts)
        except ArchiveRefused as refusal:
            return self._fail(study, refusal.code, now, study=study)
        self._memory.put(study, {"outcome": _TAKEN, "counts": digest})
        return Step.PULLED

    def _pull(self, uid: str, counts: Mapping[str, int]) -> None:
        begun = self._clock()
        transfer = _Transfer(self._intake, uid, lambda taken: self._pace(taken, begun))
        self._archive.retrieve(uid, transfer.take)
        if transfer.left:
            raise ArchiveRefused(transfer.left, "the spool does not take all of a study")
        if len(transfer.instances) < sum(counts.values()):
            raise ArchiveRefused(
                "retrieve-incomplete", "fewer instances came than the archive says that it has"
            )
        study, spool = hash_uid(uid), self._intake.spool
        expected = Counter(counts)
        expected.subtract(transfer.own)
        spool.expect(study, {series: count for series, count in expected.items() if count > 0})
        spool.found(study, _unfinished(study))
        settle(self._intake, 0.0, {study}, whole=True)

    def _pace(self, taken: int, since: float) -> None:
        if self._rate is not None:
            ahead = taken / self._rate - (self._clock() - since)
            if ahead > 0:
                self._sleep(ahead)

    def _rests(self, entry: dict[str, Any] | None, now: float) -> bool:
        """Whether a study or search was given up, or waits after it failed."""
        if entry is None or entry["outcome"] == _TAKEN:
            return False
        return bool(entry["outcome"] == _GIVEN_UP or now < entry["not_before"])

    def _fail(self, key: str, code: str, now: float, **told: str) -> Step:
        entry = self._memory.get(key) or {}
        attempts = entry.get("attempts", 0) + 1
        outcome = _GIVEN_UP if attempts >= self._policy.attempts else _FAILED
        due = now + self._policy.delay(attempts)
        self._memory.put(key, {"outcome": outcome, "code": code, "attempts": attempts, "not_before": due})
        if outcome == _GIVEN_UP:
            # Of a search not even the hash is told: that of an accession number is soon guessed.
            self._intake.audit.append("pull-given-up", code=code, count=attempts, **told)
        return Step.FAILED


def _unfinished(study: str) -> Mark:
    """Of any archive: what the last one says that it has is there when the mark goes, or the reader tells."""
    return Mark(study, UNFINISHED_PULL, "pull")


class _Transfer:
    """Takes the instances of one study as they come."""

    def __init__(self, intake: Intake, uid: str, pace: Callable[[int], None]) -> None:
        self._intake, self._study, self._pace = intake, hash_uid(uid), pace
        self._held = {one.instance for one in intake.spool.instances(self._study)}
        self._marked = False
        self.instances: set[str] = set()
        self.own: Counter[str] = Counter()
        self.left = ""

    def take(self, study_uid: str, sop_uid: str, source: IO[bytes]) -> None:
        """Take one through the door."""
        if hash_uid(study_uid) != self._study:
            raise ArchiveRefused("other-study", "the archive sent an instance of another study")
        instance = hash_uid(sop_uid)
        if not self._intake.is_own(study_uid, sop_uid):
            self._take_other(study_uid, sop_uid, instance, source)
        elif instance not in self.instances:
            self.own[self._series(source)] += 1
        self.instances.add(instance)
        self._pace(len(self.instances))

    def _take_other(self, study_uid: str, sop_uid: str, instance: str, source: IO[bytes]) -> None:
        if instance not in self._held and not self._marked:
            self._intake.begin(self._study, _unfinished(self._study))
            self._marked = True
        try:
            self._intake.take(study_uid, sop_uid, source)
        except NotTaken as refusal:
            if refusal.code == LOW_DISK:
                raise
            self.left = refusal.code  # the others are taken: a person may raise the limit

    def _series(self, source: IO[bytes]) -> str:
        """Series Instance UID of a result of ours, which the archive counts and the spool does not take."""
        with tempfile.NamedTemporaryFile(dir=self._intake.spool.folder / "incoming") as file:
            shutil.copyfileobj(source, file)
            file.flush()
            return read_uids(Path(file.name)).series
