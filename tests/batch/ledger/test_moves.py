from __future__ import annotations

import os

import pytest

from medkit.batch.ledger import IllegalTransition, LedgerError, Policy, Stage, State
from medkit.batch.ledger.states import TRANSITIONS
from tests.batch.ledger.stories import STUDY, bring, open_ledger


def everything(ledger):
    names = ("studies", "revisions", "results", "timings", "journal")
    return {name: [tuple(row) for row in ledger._all(f"SELECT * FROM {name}")] for name in names}


@pytest.mark.parametrize("after", TRANSITIONS)
@pytest.mark.parametrize("state", sorted(set(State) - {State.RECEIVING, State.SUPERSEDED}))
def test_a_move_is_one_of_the_table_or_changes_nothing(ledger, state, after):
    bring(ledger, state)
    before = everything(ledger)

    def move():
        held = {"owner": "a", "lease_until": 2000.0} if after in (State.RUNNING, State.DELIVERING) else {}
        with ledger._changing():
            ledger._move(ledger._latest(STUDY), after, 1000.0, None, None, **held)

    if after in TRANSITIONS[state]:
        move()
        assert ledger._latest(STUDY)["state"] == after
        assert ledger.history(STUDY)[-1].after is after
    else:
        with pytest.raises(IllegalTransition, match=f"revision 1: cannot go from {state} to {after}"):
            move()
        assert everything(ledger) == before


def test_waits_double_and_end(ledger):
    policy = Policy(delay_seconds=60, longest_delay_seconds=3600)
    assert [policy.delay(n) for n in (1, 2, 3, 7, 5000)] == [60, 120, 240, 3600, 3600]


def test_a_ledger_is_not_taken_through_a_fork(ledger):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            ledger.claim(Stage.MAKE)
        except LedgerError as error:
            code = 0 if "opened before a fork" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_disk_that_is_full_is_told_and_nothing_is_changed(tmp_path, clock):
    with open_ledger(tmp_path, clock) as ledger:
        bring(ledger, State.READY)
        before = everything(ledger)
        (pages,) = ledger._one("PRAGMA page_count")
        ledger._connection.execute(f"PRAGMA max_page_count = {pages}")

        def fill():
            for number in range(10_000):
                ledger.receive(f"{number:064x}")

        with pytest.raises(
            LedgerError, match=r"cannot be read or written: database or disk is full; nothing"
        ):
            fill()
        assert ledger.faults() == []
        (pages,) = ledger._one("PRAGMA max_page_count = 100000")
        assert set(before["revisions"]) <= set(everything(ledger)["revisions"])
        assert ledger.claim(Stage.MAKE).study == STUDY


def test_a_closed_ledger_says_so(tmp_path, clock):
    ledger = open_ledger(tmp_path, clock)
    ledger.close()
    with pytest.raises(LedgerError, match="closed database"):
        ledger.claim(Stage.MAKE)
