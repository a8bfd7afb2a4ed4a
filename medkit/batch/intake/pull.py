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
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from medkit.batch.hours import is_open
from medkit.batch.identity import hash_uid
from medkit.batch.intake.counting import end_counts
from medkit.batch.intake.quiet import settle
from medkit.batch.ledger import Policy
from medkit.batch.marks import LOW_DISK, UNFINISHED_PULL, Mark
from medkit.batch.spool import NotTaken
from medkit.dicom.network.archive import NOT_ALLOWED, OF_ALL, ArchiveDown, ArchiveRefused
from medkit.dicom.objects import read_uids

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from medkit.batch.hours import Hours
    from medkit.batch.intake.memory import Memory
    from medkit.batch.intake.requests import Request
    from medkit.batch.intake.take import Intake
    from medkit.dicom.network.archive import Archive

__all__ = ["Puller", "Step"]

_TAKEN, _FAILED, _GIVEN_UP = "taken", "failed", "given-up"
_BELIEVED = 3600.0  # seconds for which an equal number of instances is taken for an unchanged study
_Row = TypeVar("_Row")


class Step(StrEnum):
    """What a step of the puller did; from idle on, wait a while before the next."""

    PULLED = "pulled"
    UNCHANGED = "unchanged"
    SEARCHED = "searched"
    SEEN = "seen"
    FAILED = "failed"
    IDLE = "idle"
    CLOSED = "closed"
    DOWN = "down"
    NO_ROOM = "no-room"


@dataclass(frozen=True)
class _Wanted:
    """A study to pull.

    Args:
        uid: of it.
        lasting: its request lasts.
        instances: how many the search said that it has.
        counts: digest of what the archive had when it was looked at.
        since: when that was.
    """

    uid: str
    lasting: bool
    instances: int | None = None
    counts: str = ""
    since: float = 0.0


class Puller:
    """Pull what is asked for; one thread.

    A study that the archive may still be receiving waits: it is pulled once two looks found the same in it. Where a
    study, and not the archive, is what gets no answer, the study fails, and the others go on.

    Args:
        archive: where from.
        intake: the door.
        requests: what; of lists each study once, of lasting ones also what changes.
        memory: how far it came.
        windows: when the archive may be asked; a study that was begun is ended. None: always.
        instances_per_second: at most so many, on the average of a study; ``None``: as fast as it goes.
        round_seconds: between two times that all requests are gone through.
        quiet_seconds: between two looks at a study that have to find the same in it.
        policy: how often a study is tried, and how long it waits between; the same for an archive that does not answer.
        clock: seconds since 1970.
        monotonic: seconds that nobody sets.
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
        quiet_seconds: float = 60.0,
        policy: Policy | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._archive, self._intake, self._requests, self._memory = archive, intake, requests, memory
        self._windows, self._rate = windows, instances_per_second
        self._round, self._quiet = round_seconds, quiet_seconds
        self._policy, self._clock, self._sleep = policy or Policy(), clock, sleep
        self._monotonic = monotonic
        self._ahead: deque[Request] = deque(requests)
        self._studies: deque[_Wanted] = deque()
        self._seen: deque[_Wanted] = deque()  # those that wait for their second look, the first seen first
        self._found: dict[str, list[str]] = {}  # studies of searches that do not last
        self._counted: dict[
            str, tuple[int | None, float]
        ] = {}  # how many a search said, and when they were counted
        self._next_round = clock() + round_seconds
        self._downs, self._silent_until = 0, 0.0
        self.down: ArchiveDown | None = None
        """Why the archive cannot be asked, as long as it cannot."""

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
        except ArchiveDown as down:
            self.down = down
            self._downs += 1
            self._silent_until = self._clock() + self._policy.delay(self._downs)
            return Step.DOWN
        except NotTaken:
            return Step.NO_ROOM
        self._downs, self.down = 0, None
        return step

    def failures(self) -> dict[str, str]:
        """Studies that were given up, and searches that fail again and again: their key in the memory, and a code."""
        failed = [(key, entry) for key, entry in self._memory.items() if entry["outcome"] != _TAKEN]
        return {key: entry["code"] for key, entry in failed if entry["attempts"] >= self._policy.attempts}

    def retry(self) -> None:
        """Try again, in the next round, what was given up: a person has mended something."""
        for key in self.failures():
            self._memory.drop(key)

    def _next(self, now: float) -> Step:
        while True:
            if row := self._first_row():
                step = self._one_of(row, self._study, now)
            elif self._ahead:
                step = self._one_of(self._ahead, self._search, now)
            elif now < self._next_round:
                return Step.IDLE
            else:
                self._ahead.extend(self._requests)
                self._next_round = now + self._round
                if not self._ahead:
                    return Step.IDLE
                continue
            if step is not None:
                return step

    def _first_row(self) -> deque[_Wanted]:
        due = self._seen and self._monotonic() - self._seen[0].since >= self._quiet
        return self._seen if due else self._studies

    def _one_of(self, row: deque[_Row], do: Callable[[_Row, float], Step | None], now: float) -> Step | None:
        """Do the first of a row; after an archive that does not answer another one comes next, and this one last."""
        try:
            step = do(row[0], now)
        except ArchiveDown:
            row.rotate(-1)
            raise
        row.popleft()
        return step

    def _search(self, request: Request, now: float) -> Step | None:
        """Put the studies of a request at the end of the row."""
        key, entry = request.key, self._memory.get(request.key)
        if request.study_uid:
            self._want(_Wanted(request.study_uid, request.lasting))
            return None
        if self._rests(entry, now) or (not request.lasting and _is_taken(entry)):
            return None
        if key in self._found:
            self._want_the_rest(key)
            return None
        try:
            matches = [one for one in self._archive.find(request.filters) if one.study_uid.strip(" \0")]
        except (ArchiveRefused, ArchiveDown) as failure:
            return self._fail(key, self._code(failure), now, lasting=request.lasting)
        if not matches and not request.lasting:
            return self._fail(key, "not-found", now)
        self._memory.drop(key)
        if not request.lasting:
            self._found[key] = [match.study_uid for match in matches]
        for match in matches:
            self._want(_Wanted(match.study_uid, request.lasting, match.instances))
        return Step.SEARCHED

    def _want(self, wanted: _Wanted) -> None:
        if all(one.uid != wanted.uid for one in self._seen):
            self._studies.append(wanted)

    def _want_the_rest(self, key: str) -> None:
        """Of a search that does not last the studies that were not taken; when all are, it is over."""
        left = [uid for uid in self._found[key] if not _is_taken(self._memory.get(hash_uid(uid)))]
        for uid in left:
            self._want(_Wanted(uid, lasting=False))
        if not left:
            self._memory.put(key, {"outcome": _TAKEN})
            del self._found[key]

    def _study(self, wanted: _Wanted, now: float) -> Step | None:
        study = hash_uid(wanted.uid)
        entry = self._memory.get(study)
        if self._rests(entry, now) or (_is_taken(entry) and not self._may_have_changed(wanted)):
            return None
        try:
            counts = self._archive.counts(wanted.uid)
            if not counts:
                return self._fail(study, "not-found", now, study=study)
            digest = hashlib.sha256(json.dumps(counts, sort_keys=True).encode()).hexdigest()
            self._counted[wanted.uid] = (wanted.instances, self._monotonic())
            if entry is not None and _is_taken(entry) and entry["counts"] == digest:
                return Step.UNCHANGED
            if digest != wanted.counts:
                wanted = replace(wanted, counts=digest, since=self._monotonic())
            if self._monotonic() - wanted.since < self._quiet:
                self._seen.append(wanted)
                return Step.SEEN
            if not self._pull(wanted.uid, counts):
                self._seen.append(replace(wanted, counts="", since=self._monotonic()))
                return Step.SEEN
        except (ArchiveRefused, ArchiveDown) as failure:
            return self._fail(study, self._code(failure), now, study=study)
        self._memory.put(study, {"outcome": _TAKEN, "counts": digest})
        return Step.PULLED

    def _may_have_changed(self, wanted: _Wanted) -> bool:
        """Whether a study that was taken is to be counted again: an equal total is believed for a while."""
        if not wanted.lasting:
            return False
        instances, when = self._counted.get(wanted.uid, (None, 0.0))
        same = wanted.instances is not None and wanted.instances == instances
        return not same or self._monotonic() - when >= _BELIEVED

    def _code(self, failure: ArchiveRefused | ArchiveDown) -> str:
        """Why a study or a search failed.

        Raises:
            ArchiveDown: the archive answers nobody, or lets us in nowhere, which says nothing about the study.
        """
        # Of one study, too, an archive may say that it is not for us: then it answers what is no study's.
        if failure.code in OF_ALL and failure.code != NOT_ALLOWED:
            raise ArchiveDown(str(failure), failure.code) from failure
        try:
            self._archive.echo()
        except (ArchiveRefused, ArchiveDown) as down:
            raise ArchiveDown(str(down), down.code) from failure
        return failure.code if isinstance(failure, ArchiveRefused) else "archive-breaks-off"

    def _pull(self, uid: str, counts: Mapping[str, int]) -> bool:
        """Take a study; whether the archive has afterwards what it had before."""
        begun = self._clock()
        transfer = _Transfer(self._intake, uid, lambda taken: self._pace(taken, begun))
        self._archive.retrieve(uid, transfer.take)
        if transfer.left:
            raise ArchiveRefused(transfer.left, "the spool does not take all of a study")
        if self._archive.counts(uid) != counts:
            return False
        if len(transfer.instances) != sum(counts.values()):
            raise ArchiveRefused(
                "retrieve-incomplete",
                "expected as many instances as the archive says that it has, got others",
            )
        study, spool = hash_uid(uid), self._intake.spool
        expected = Counter(counts)
        expected.subtract(transfer.own)
        # First: what a node takes from now on was not counted here, and marks the study again.
        end_counts(spool, study)
        spool.expect(study, {series: count for series, count in expected.items() if count > 0})
        spool.found(study, _unfinished(study))
        settle(self._intake, 0.0, {study}, whole=True)
        return True

    def _pace(self, taken: int, since: float) -> None:
        if self._rate is not None:
            ahead = taken / self._rate - (self._clock() - since)
            if ahead > 0:
                self._sleep(ahead)

    def _rests(self, entry: dict[str, Any] | None, now: float) -> bool:
        """Whether a study or search was given up, or waits after it failed."""
        if entry is None or _is_taken(entry):
            return False
        return bool(entry["outcome"] == _GIVEN_UP or now < entry["not_before"])

    def _fail(self, key: str, code: str, now: float, *, lasting: bool = False, **told: str) -> Step:
        """Remember a failure; a search that lasts is never given up, and told when it would have been."""
        entry = self._memory.get(key) or {}
        attempts = entry.get("attempts", 0) + 1
        outcome = _GIVEN_UP if attempts >= self._policy.attempts and not lasting else _FAILED
        due = now + self._policy.delay(attempts)
        self._memory.put(key, {"outcome": outcome, "code": code, "attempts": attempts, "not_before": due})
        if outcome == _GIVEN_UP or attempts == self._policy.attempts:
            # Of a search not even the hash is told: that of an accession number is soon guessed.
            event = "pull-given-up" if outcome == _GIVEN_UP else "search-fails"
            self._intake.audit.append(event, code=code, count=attempts, **told)
        return Step.FAILED


def _is_taken(entry: dict[str, Any] | None) -> bool:
    return entry is not None and entry["outcome"] == _TAKEN


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
