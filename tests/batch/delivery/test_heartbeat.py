from __future__ import annotations

import time

import pytest

from medkit.batch.delivery.heartbeat import Heartbeat
from medkit.batch.ledger import LeaseLost, LedgerError, Policy, Stage
from tests.batch.delivery.outlets import Job

BRISK = Policy(lease_seconds=0.03)


@pytest.fixture
def beating(tmp_path):
    job = Job(tmp_path, policy=BRISK)
    job.arrive("1")
    yield job
    job.ledger.close()


def wait_until(true):
    for _ in range(2000):
        if true():
            return
        time.sleep(0.005)
    raise AssertionError("it never came")


def test_a_lease_is_renewed_while_the_block_runs_and_no_longer(beating):
    claim = beating.ledger.claim(Stage.MAKE)
    with Heartbeat(beating.ledger, claim) as beat:
        for _ in range(3):
            before = beat.claim.until
            beating.clock.pass_by(0.02)
            wait_until(lambda before=before: beat.claim.until > before)
    assert beat.claim.until == pytest.approx(beating.clock.now + 0.03)
    assert not beat._thread.is_alive()
    assert not beat.lost


def test_a_lost_lease_ends_it_and_is_told_to_whoever_asks(beating):
    claim = beating.ledger.claim(Stage.MAKE)
    with Heartbeat(beating.ledger, claim) as beat:
        beating.clock.pass_by(1)
        wait_until(lambda: not beat._thread.is_alive())
        assert beat.lost
        with pytest.raises(LeaseLost):
            beat.renew()


def test_a_ledger_that_fails_once_is_asked_again(beating, monkeypatch):
    claim, real, failed = beating.ledger.claim(Stage.MAKE), beating.ledger.heartbeat, []

    def fails(given):
        if not failed:
            failed.append(given)
            raise LedgerError("the disk is full")
        return real(given)

    monkeypatch.setattr(beating.ledger, "heartbeat", fails)
    with Heartbeat(beating.ledger, claim) as beat:
        beating.clock.pass_by(0.01)
        wait_until(lambda: beat.claim.until > claim.until)
    assert failed
