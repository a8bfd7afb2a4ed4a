"""Several workers, late slices, lost leases, a kill before any statement: every study ends once, and none is lost."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from medkit.batch.identity import hash_uid
from medkit.batch.ledger import IllegalTransition, LeaseLost, Policy, Result, Stage, State
from tests.batch.ledger.killing import Killed, killed_before
from tests.batch.ledger.stories import Clock, content, digest, open_ledger

WORKERS = ("a", "b", "c")
STUDIES = sorted(hash_uid(name) for name in ("1", "2"))
LEASE = 10
PATIENT = Policy(attempts=4, lease_seconds=LEASE, delay_seconds=5, longest_delay_seconds=5)
VERDICTS = {"poison": State.QUARANTINED, "tilted": State.REFUSED, "foreign": State.SKIPPED}
INSTANCES = ("good", "better", "best", "unrelated", "unrelated too", "not better", *VERDICTS)


def verdict(instances):
    return next((state for name, state in VERDICTS.items() if name in instances), State.DELIVERED)


def objects(study, instances, edition=0):
    """What is made of a study: instances of no concern change the study, not the results; a note takes one back."""
    used = {name for name in instances if not name.startswith("unrelated")}
    used = sorted(used - {"better", "not better"} if "not better" in used else used)
    return [f"2.25.{study[:6]}.{part}.{'+'.join(used)}.{edition}" for part in ("seg", "sr")]


class Unattended(RuleBasedStateMachine):
    """What is durable outside of the ledger: stored instances, the archive, its notes. Workers and claims are memory."""

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.patch = pytest.MonkeyPatch()
        self.killing = killed_before(self.patch, None, self.root / "kept0")
        self.watch = self.killing.__enter__()
        self.clock = Clock()
        self.stored = {study: set() for study in STUDIES}
        self.held = {}  # what each digest stands for, as the store of instances knows it
        self.archive, self.notes = {}, set()
        self.generation = 0
        self.folder = self.root / "first"
        self.start()

    def start(self):
        self.ledgers = {name: self.open(name) for name in (*WORKERS, "node")}
        self.workers = {name: self.work(self.ledgers[name]) for name in WORKERS}

    def open(self, name):
        return open_ledger(self.folder, self.clock, name, PATIENT)

    def guarded(self, step):
        """Take a step, in which everything may be killed; then all starts again on what the disk had."""
        try:
            step()
        except Killed:
            for ledger in self.ledgers.values():
                ledger.close()
            self.folder = self.watch.kept
            self.generation += 1
            self.watch.kept = self.root / f"kept{self.generation}"
            self.start()

    def work(self, ledger):
        while True:
            for stage, part in ((Stage.MAKE, self.make), (Stage.DELIVER, self.deliver)):
                claim = ledger.claim(stage)
                yield
                if claim is not None:
                    try:
                        yield from part(ledger, claim)
                    except LeaseLost:
                        yield

    def make(self, ledger, claim):
        instances = self.held[claim.study, claim.digest]
        state = verdict(instances)
        yield
        if state is State.QUARANTINED:
            ledger.fail(claim, "poison", "it makes the worker fail")
        elif state is State.REFUSED:
            ledger.refuse(claim, "tilt", "it is tilted")
        elif state is State.SKIPPED:
            ledger.skip(claim, "no-rule", "no rule wants it")
        else:
            withdrawn = ledger.withdrawn_uids(claim.study)
            uids = next(
                uids
                for edition in count()
                if withdrawn.isdisjoint(uids := objects(claim.study, instances, edition))
            )
            yield
            try:
                ledger.made(claim, [Result(uid, "archive", content(uid), "x.dcm") for uid in uids], "recipe")
            except IllegalTransition:  # withdrawn meanwhile
                ledger.give_back(claim, "result-not-taken", "another edition is needed")

    def withdraw(self, ledger, study=None):
        for due in ledger.withdrawals(study):
            try:
                ledger.withdrawing(due.study, due.uid, due.destination)
                yield
                self.archive.pop(due.uid, None)
                self.notes.add(due.uid)
                yield
                ledger.withdrawn(due.study, due.uid, due.destination)
            except IllegalTransition:
                yield  # another did so

    def deliver(self, ledger, claim):
        yield from self.withdraw(ledger, claim.study)
        for result in ledger.results(claim.study, claim.revision):
            uid = result.uid
            if result.delivered_at is None:
                if result.sending_at is None or uid not in self.archive:
                    ledger.sending(claim, uid, "archive")
                    yield
                    claim = ledger.heartbeat(claim)
                    yield
                    if self.clock.now >= claim.until:
                        raise LeaseLost
                    assert uid not in self.archive, "an object is sent once"
                    assert uid not in self.notes, "and not below a note that takes it back"
                    self.archive[uid] = content(uid)
                    yield
                ledger.sent(claim, uid, "archive")
            yield
            read_back = self.archive.get(uid)  # who has lost the study may find it withdrawn
            ledger.verified(claim, uid, "archive", str(read_back))
        yield
        ledger.delivered(claim)

    @initialize()
    def two_studies(self):
        for study in STUDIES:
            self.arrives(study, "good")
        self.settle()

    @rule(study=st.sampled_from(STUDIES), instance=st.sampled_from(INSTANCES), last=st.booleans())
    def comes(self, study, instance, last):
        self.guarded(lambda: self.arrives(study, instance))
        if last:
            self.guarded(self.settle)

    def arrives(self, study, instance):
        self.ledgers["node"].receive(study)
        self.stored[study].add(instance)

    def settle(self):
        for arrival in self.ledgers["node"].arrivals():
            instances = self.stored[arrival.study]
            if instances:
                self.held[arrival.study, digest(*instances)] = frozenset(instances)
                self.ledgers["node"].complete(arrival, digest(*instances), len(instances))

    @rule(worker=st.sampled_from(WORKERS), steps=st.integers(1, 6))
    def works(self, worker, steps):
        for _ in range(steps):
            self.guarded(lambda: next(self.workers[worker]))

    @rule(worker=st.sampled_from(WORKERS), seconds=st.sampled_from((0, 0, LEASE)))
    def works_long(self, worker, seconds):
        self.clock.pass_by(seconds)
        for _ in range(25):
            self.guarded(lambda: next(self.workers[worker]))

    @rule(seconds=st.sampled_from((1, LEASE)), tidy=st.booleans())
    def time_passes(self, seconds, tidy):
        self.clock.pass_by(seconds)
        if tidy:
            self.guarded(lambda: list(self.withdraw(self.ledgers["node"])))

    @rule(worker=st.sampled_from(WORKERS), statements=st.integers(0, 40), all_of_them=st.booleans())
    def is_killed(self, worker, statements, all_of_them):
        if all_of_them:
            self.watch.fatal = self.watch.statements + statements
            return
        self.ledgers[worker].close()
        self.guarded(lambda: self.ledgers.update({worker: self.open(worker)}))
        self.workers[worker] = self.work(self.ledgers[worker])

    @rule(study=st.sampled_from(STUDIES))
    def a_person_tries_again(self, study):
        def step():
            try:
                self.ledgers["node"].retry(study, "let us see")
            except IllegalTransition:
                assert study not in {one.study for one in self.ledgers["node"].studies(State.QUARANTINED)}

        self.guarded(step)

    @invariant()
    def the_ledger_is_sound(self):
        armed, self.watch.fatal = self.watch.fatal, None
        self.check_ledger()
        self.watch.fatal = armed if armed is None else max(armed, self.watch.statements)

    def check_ledger(self):
        node = self.ledgers["node"]
        assert node.faults() == []
        ends = Counter(
            (one.study, one.revision) for one in node.history() if one.after is State.DELIVERED != one.before
        )
        assert set(ends.values()) <= {1}, "a revision is delivered once"
        for study in node.studies(State.DELIVERED):
            there = {uid for uid in self.archive if study.study[:6] in uid}
            editions = {int(uid.rpartition(".")[2]) for uid in there}
            assert len(editions) == 1
            assert there == {*objects(study.study, self.held[study.study, study.digest], *editions)}, (
                "and nothing beside it"
            )
            assert there.isdisjoint(self.notes)
            assert all(one.verified_at for one in node.results(study.study, study.revision))

    def teardown(self):
        try:
            self.watch.fatal = None
            self.finish()
        finally:
            for ledger in self.ledgers.values():
                ledger.close()
            self.killing.__exit__(None, None, None)
            shutil.rmtree(self.root)

    def finish(self):
        """Without further mishaps all comes to its end."""
        node = self.ledgers["node"]
        self.settle()
        begin = self.clock.now
        for _ in range(500):
            list(self.withdraw(node))
            open_ = [
                study for study in node.studies() if study.state not in {State.DELIVERED, *VERDICTS.values()}
            ]
            waited = self.clock.now > begin + LEASE  # as withdrawals do for who may still be sending
            if waited and not open_ and not node.withdrawals():
                break
            for worker in self.workers.values():
                next(worker)
            self.clock.pass_by(0.25)
        found = {study.study: study for study in node.studies()}
        for study, instances in self.stored.items():
            if instances:
                assert found[study].digest == digest(*instances), "no instance is lost"
                if found[study].code != "lease-lost":  # killed too often: a person looks
                    assert found[study].state is verdict(instances)
        self.check_ledger()
        left = {uid.split(".")[2] for uid in self.archive}
        ended = {s.study[:6] for s in found.values() if s.state in (State.DELIVERED, State.QUARANTINED)}
        assert left <= ended, "what was refused later is withdrawn"


Unattended.TestCase.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
test_every_study_ends_once = Unattended.TestCase


def test_who_lost_a_study_and_finds_its_result_withdrawn_is_told_so():
    story = Unattended()
    story.two_studies()
    story.works_long("c", 0)
    story.comes(STUDIES[1], "better", last=True)
    story.time_passes(LEASE, tidy=False)
    story.works_long("a", 0)
    assert "2.25.d4735e.sr.good.0" not in story.archive
    story.works("c", 1)
    story.check_ledger()
    story.teardown()
