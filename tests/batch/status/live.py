"""A batch that goes on: a study in each state, and as many delivered ones as are asked for."""

from __future__ import annotations

import io
from dataclasses import replace

from filelock import FileLock

from medkit.batch.audit import AuditLog
from medkit.batch.folder import JobFolder
from medkit.batch.identity import hash_uid
from medkit.batch.ledger import Result, Stage, State
from medkit.batch.spool import Spool, SpoolLimits
from medkit.dicom.network.content import content_hash
from medkit.dicom.writing import save
from tests.batch.delivery.outlets import a_result
from tests.batch.ledger.stories import POLICY, open_ledger

LEASE = 600
MAKER = "brain 0.1.0 (0123456789ab)"
STATES = [state for state in State if state is not State.SUPERSEDED]
# Those that can be claimed come last, so that nobody takes them for another.
_ORDER = [state for state in STATES if state not in (State.FAILED, State.READY, State.MADE, State.RECEIVING)]


def uid(name):
    return f"1.2.3.{int.from_bytes(name.encode())}"


def study(name):
    return hash_uid(uid(name))


class LiveBatch:
    """Instances in the store, studies in the ledger, lines in the audit log; a clock that stands, a service."""

    def __init__(self, folder, clock):
        self.job, self.clock = JobFolder(folder), clock
        self.spool = Spool(self.job.spool, SpoolLimits(free_bytes=0), clock=clock)
        self.audit = AuditLog(self.job.audit, "node", clock)
        self.ledger = open_ledger(folder, clock, "node", replace(POLICY, lease_seconds=LEASE))
        self.service = FileLock(self.job.lock)
        self.service.acquire()

    def receive(self, name):
        self.ledger.receive(study(name))
        self.spool.store(uid(name), f"{uid(name)}.1", io.BytesIO(f"instance of {name}".encode()))
        self.audit.append("received", study=study(name))

    def arrive(self, name):
        self.receive(name)
        (arrival,) = [one for one in self.ledger.arrivals() if one.study == study(name)]
        self.ledger.complete(arrival, self.spool.digest(arrival.study), 1)

    def make(self, name, refused=None):
        self.arrive(name)
        claim = self.ledger.claim(Stage.MAKE)
        assert claim.study == study(name)
        self.ledger.timed(claim, "reading", 0.5)
        self.ledger.timed(claim, "inference", 12.0)
        made = f"2.25.{int(study(name)[:8], 16)}"
        name = f"{claim.study}/{claim.revision}/{claim.token}/brain/003.seg.dcm"
        path = self.job.results / name
        path.parent.mkdir(parents=True)
        save(a_result(made), path)
        self.ledger.made(
            claim, [Result(made, "archive", content_hash(path), name)], "recipe", [MAKER], refused
        )
        return claim

    def deliver(self, name, refused=None):
        self.make(name, refused)
        claim = self.ledger.claim(Stage.DELIVER)
        assert claim.study == study(name)
        for one in self.ledger.results(claim.study, claim.revision):
            self.ledger.sending(claim, one.uid, one.destination)
            self.ledger.sent(claim, one.uid, one.destination)
            self.ledger.verified(claim, one.uid, one.destination, one.sha256)
        self.ledger.delivered(claim)

    def bring(self, state):
        """A study named after its state."""
        if state is State.RECEIVING:
            return self.receive(state)
        if state is State.DELIVERED:
            return self.deliver(state)
        if state in (State.MADE, State.DELIVERING):
            self.make(state)
            return self.ledger.claim(Stage.DELIVER) if state is State.DELIVERING else None
        self.arrive(state)
        if state is State.READY:
            return None
        claim = self.ledger.claim(Stage.MAKE)
        return self._end(claim, state)

    def _end(self, claim, state):
        if state is State.REFUSED:
            self.ledger.refuse(
                claim, "tilt", "expected slices along their normal, got a tilt of <12> degrees"
            )
        elif state is State.SKIPPED:
            self.ledger.skip(claim, "no-rule", "no rule wants it")
        elif state is State.FAILED:
            self.ledger.fail(claim, "out-of-memory", "expected 3 GiB, got 2")
        elif state is State.QUARANTINED:
            self._give_up(claim)
        return claim

    def give_up(self, name):
        """A study that waits to be made, tried in vain as often as it may be."""
        claim = self.ledger.claim(Stage.MAKE)
        assert claim.study == study(name)
        self._give_up(claim)

    def _give_up(self, claim):
        policy, self.ledger.policy = self.ledger.policy, replace(self.ledger.policy, attempts=claim.attempt)
        assert self.ledger.fail(claim, "worker-died", "it kills its worker") is State.QUARANTINED
        self.ledger.policy = policy

    def one_of_each(self):
        for state in (*_ORDER, State.FAILED, State.MADE, State.READY, State.RECEIVING):
            self.bring(state)
            self.clock.pass_by(1)
        return self


def crowd(batch, number):
    """Put many studies into the ledger at once, four of five delivered and the others in trouble."""
    ends = [*[State.DELIVERED] * 8, State.REFUSED, State.QUARANTINED]
    now = batch.clock.now
    with batch.ledger._changing():
        for index in range(number):
            name, state, at = hash_uid(f"1.2.9.{index}"), ends[index % 10], now - index
            code = None if state is State.DELIVERED else f"reason-{index % 70}"
            why = (
                "expected what a study has, got something else in it; send the study again" if code else None
            )
            run = batch.ledger._run
            run("INSERT INTO studies VALUES (?, 1, NULL, ?, NULL, NULL)", name, at)
            run(
                "INSERT INTO revisions (study, number, digest, instances, state, not_before, since, code, reason) "
                "VALUES (?, 1, ?, 200, ?, ?, ?, ?, ?)",
                *(name, name, state, at, at, code, why),
            )
            for before, after in ((None, State.RECEIVING), (State.RUNNING, state)):
                revision = None if before is None else 1
                batch.ledger._journal(at, name, revision, before, after, code, why)
        run("INSERT INTO timings SELECT id, 'part ' || (id % 7), id % 11 FROM revisions")
    assert batch.ledger.faults() == []
    return batch
