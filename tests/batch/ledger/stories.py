"""Studies brought into each state by those who may, with a clock that stands until it is moved."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager

from medkit.batch.identity import hash_revision, hash_uid
from medkit.batch.ledger import Ledger, Policy, Result, Stage, State

STUDY = hash_uid("1.2.3")
POLICY = Policy(attempts=3, lease_seconds=10, delay_seconds=60, longest_delay_seconds=150)


class Clock:
    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now

    def pass_by(self, seconds):
        self.now += seconds


def digest(*instances):
    return hash_revision([hash_uid(name) for name in instances])


def content(name):
    return hash_uid(f"content of {name}")


def results(*names, destination="archive"):
    return [Result(f"2.25.{name}", destination, content(name), f"{name}.dcm") for name in names]


@contextmanager
def locked(ledger):
    """The ledger as one that another process writes all the time, and that nobody waits for."""
    ledger._connection.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(ledger.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
    ledger._connection.execute("PRAGMA busy_timeout = 60000")


def open_ledger(folder, clock, owner="a", policy=POLICY):
    return Ledger(folder / "ledger.sqlite", owner, policy, clock)


def arrive(ledger, *instances, study=STUDY, **options):
    """Receive a study that then holds these instances; return the number of the new revision."""
    ledger.receive(study)
    (arrival,) = [one for one in ledger.arrivals() if one.study == study]
    return ledger.complete(arrival, digest(*instances), len(instances), **options)


def make(ledger, *names, **options):
    claim = ledger.claim(Stage.MAKE)
    ledger.made(claim, results(*names), "recipe", **options)
    return claim


def send(ledger, claim):
    for one in ledger.results(claim.study, claim.revision):
        if one.delivered_at is None:
            ledger.sending(claim, one.uid, one.destination)
            ledger.sent(claim, one.uid, one.destination)
        ledger.verified(claim, one.uid, one.destination, one.sha256)


def withdraw(ledger, uid, destination="archive"):
    ledger.withdrawing(STUDY, uid, destination)
    ledger.withdrawn(STUDY, uid, destination)


def deliver(ledger):
    claim = ledger.claim(Stage.DELIVER)
    send(ledger, claim)
    ledger.delivered(claim)
    return claim


def _quarantined(ledger):
    for _ in range(ledger.policy.attempts):
        ledger.fail(ledger.claim(Stage.MAKE), "broken", "it broke")
        ledger._clock.pass_by(1000)


def bring(ledger, state):
    """Bring one study into a state; return the last claim on it, if any."""
    if state is State.RECEIVING:
        ledger.receive(STUDY)
        return None
    arrive(ledger, "1")
    if state is State.READY:
        return None
    if state is State.QUARANTINED:
        return _quarantined(ledger)
    if state in (State.MADE, State.DELIVERING, State.DELIVERED):
        made = make(ledger, "x")
        if state is State.MADE:
            return made
        claim = ledger.claim(Stage.DELIVER)
        if state is State.DELIVERED:
            send(ledger, claim)
            ledger.delivered(claim)
        return claim
    claim = ledger.claim(Stage.MAKE)
    if state is State.FAILED:
        ledger.fail(claim, "broken", "it broke")
    elif state is State.REFUSED:
        ledger.refuse(claim, "tilt", "it is tilted")
    elif state is State.SKIPPED:
        ledger.skip(claim, "no-rule", "no rule wants it")
    return claim
