from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from medkit.batch.identity import hash_uid
from medkit.batch.ledger import Ledger, Policy, Stage, State
from medkit.batch.service.flights import FlightBoard, read_hands
from medkit.batch.service.recovery import DIED, Death, recover

POLICY = Policy(attempts=2, lease_seconds=600, delay_seconds=1e-3)
NAMES = ("a", "b", "c")


@pytest.fixture
def dead(tmp_path):
    """A ledger in which a worker that is no more has claimed three studies, and what it had written down."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    board = FlightBoard(tmp_path / "workers", "worker-1")
    with Ledger(tmp_path / "ledger.sqlite", "worker-1", POLICY) as ledger:
        for name in NAMES:
            ledger.receive(hash_uid(name))
        for arrival in ledger.arrivals():
            ledger.complete(arrival, hash_uid(arrival.study), 1)
        for _ in NAMES:
            claim = ledger.claim(Stage.MAKE)
            board.note(claim, "predict" if claim.study == hash_uid("a") else None)
    content = json.loads(board.path.read_text())
    board.path.write_text(json.dumps(content | {"pid": child.pid}))
    (hands,) = read_hands(tmp_path / "workers")
    assert not hands.alive
    return hands


def states(folder):
    with Ledger(folder / "ledger.sqlite", "look", POLICY) as ledger:
        assert ledger.faults() == []
        records = [ledger.study(hash_uid(name)) for name in NAMES]
    return [(record.state, record.code, record.attempts) for record in records]


def test_what_was_worked_on_is_tried_again_and_what_waited_was_not_tried(dead, tmp_path):
    recover(dead, tmp_path / "ledger.sqlite", POLICY)
    back = (State.READY, "worker-gone", 0)
    assert states(tmp_path) == [(State.FAILED, "worker-died", 1), back, back]
    with Ledger(tmp_path / "ledger.sqlite", "look", POLICY) as ledger:
        last = {study: ledger.history(hash_uid(study))[-2:] for study in NAMES}
    for claimed, given_back in last.values():
        assert (claimed.actor, given_back.actor) == ("worker-1", f"service-{os.getpid()}")
    assert read_hands(tmp_path / "workers") == []


def test_a_study_that_kills_its_worker_again_is_quarantined_alone(dead, tmp_path):
    recover(dead, tmp_path / "ledger.sqlite", POLICY)
    board = FlightBoard(tmp_path / "workers", "worker-2")
    with Ledger(tmp_path / "ledger.sqlite", "worker-2", POLICY) as ledger:
        while (claim := ledger.claim(Stage.MAKE)).study != hash_uid("a"):
            ledger.give_back(claim, "other", "not this one")
        assert claim.attempt == 2
        board.note(claim, "read")
    (hands,) = read_hands(tmp_path / "workers")
    recover(hands, tmp_path / "ledger.sqlite", POLICY)
    found = states(tmp_path)
    assert found[0] == (State.QUARANTINED, DIED.code, 2)
    assert [state for state, _, _ in found[1:]] == [State.READY] * 2


def test_whom_the_service_blames_is_tried_and_nobody_else(dead, tmp_path):
    death = Death("too-slow", "it took too long", {hash_uid("b")})
    recover(dead, tmp_path / "ledger.sqlite", POLICY, death)
    assert [(state, attempts) for state, _, attempts in states(tmp_path)] == [
        (State.READY, 0),
        (State.FAILED, 1),
        (State.READY, 0),
    ]


def test_what_is_no_longer_the_workers_is_let_be(dead, tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", "worker-1", POLICY) as ledger:
        ledger.refuse(dead.flights[0].claim, "tilt", "it had said so before it died")
    recover(dead, tmp_path / "ledger.sqlite", POLICY)
    assert (State.REFUSED, "tilt", 1) in states(tmp_path)
