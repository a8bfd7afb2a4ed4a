from __future__ import annotations

import sqlite3

import pytest

from medkit.batch.identity import hash_uid
from medkit.batch.ledger import LedgerError, LedgerView, Stage, State, Timing
from tests.batch.ledger.stories import STUDY, arrive, bring, make, open_ledger


@pytest.mark.parametrize("state", sorted(set(State) - {State.SUPERSEDED}))
def test_a_study_counts_once_in_its_state(ledger, state):
    bring(ledger, state)
    assert ledger.counts() == {one: int(one is state) for one in State if one is not State.SUPERSEDED}
    assert [study.study for study in ledger.studies(state)] == [STUDY]
    assert sum(len(ledger.studies(one)) for one in State) == len(ledger.studies()) == 1


def test_a_superseded_revision_is_no_study_of_its_own(ledger):
    bring(ledger, State.DELIVERED)
    ledger.receive(STUDY)
    assert (ledger.study(STUDY).state, ledger.study(STUDY).arriving) == (State.DELIVERED, True)
    arrive(ledger, "1", "late")
    assert not ledger.study(STUDY).arriving
    assert sum(ledger.counts().values()) == 1
    assert ledger.counts()[State.READY] == 1


def test_studies_that_wait_longest_come_first(ledger, clock):
    arrive(ledger, "1", study=hash_uid("1.2.4"))
    clock.pass_by(1)
    bring(ledger, State.READY)
    assert [study.since for study in ledger.studies(State.READY)] == [1000, 1001]


def test_timings_add_up(ledger):
    claim = bring(ledger, State.RUNNING)
    for name, seconds in (("reading", 1.5), ("reading", 0.5), ("inference", 3.0)):
        ledger.timed(claim, name, seconds)
    assert ledger.timings() == {"inference": Timing(1, 3.0, 3.0), "reading": Timing(2, 2.0, 1.5)}


def test_another_process_may_look_while_one_works(ledger, clock):
    bring(ledger, State.MADE)
    with LedgerView(ledger.path, clock) as view:
        assert view.study(STUDY) == ledger.study(STUDY)
        ledger.claim(Stage.DELIVER)
        assert view.study(STUDY).owner == "a"
        assert view.history() == ledger.history()
        assert view.faults() == []


def test_a_state_that_the_journal_does_not_know_is_a_fault(tmp_path, clock):
    with open_ledger(tmp_path, clock) as ledger:
        bring(ledger, State.MADE)
        arrive(ledger, "1", study=hash_uid("1.2.4"))
        with sqlite3.connect(ledger.path) as connection:
            connection.execute("UPDATE revisions SET state = 'delivered' WHERE study = ?", [STUDY])
            connection.execute("DELETE FROM revisions WHERE study = ?", [hash_uid("1.2.4")])
        assert ledger.faults() == [
            f"study {STUDY}, revision 1: state delivered, journal made",
            f"study {hash_uid('1.2.4')}, revision 1: only in the journal",
        ]


def test_a_file_that_was_damaged_is_told(tmp_path, clock):
    with open_ledger(tmp_path, clock) as ledger:
        for number in range(300):
            ledger.receive(f"{number:064x}")
        make_one(ledger)
    path = tmp_path / "ledger.sqlite"
    content = bytearray(path.read_bytes())
    content[4096:-4096] = b"\xa5" * (len(content) - 8192)
    path.write_bytes(content)

    def look():
        with LedgerView(path) as view:
            return view.faults()

    try:
        found = look()
    except LedgerError as error:
        found = [str(error)]
    assert found


def make_one(ledger):
    arrive(ledger, "1")
    make(ledger, "x")


def test_own_results_are_known_by_study_and_uid_in_every_revision(ledger):
    arrive(ledger, "1")
    make(ledger, "x")
    arrive(ledger, "1", "2")
    make(ledger, "x", "y")
    other = hash_uid("1.2.9")
    assert [ledger.has_made(STUDY, uid) for uid in ("2.25.x", "2.25.y", "2.25.z")] == [True, True, False]
    assert not ledger.has_made(other, "2.25.x")
    assert ledger.result_paths(STUDY, "2.25.x") == ["x.dcm"]
    assert ledger.result_paths(other, "2.25.x") == []
