from __future__ import annotations

import sqlite3
from multiprocessing import get_context
from threading import Thread

import pytest

from medkit.batch.identity import hash_uid
from medkit.batch.ledger import LedgerError, LedgerView, Reason, Stage, State, Timing, Waiting
from tests.batch.ledger.stories import STUDY, arrive, bring, deliver, make, open_ledger, results, withdraw


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


def test_studies_come_page_by_page(ledger, clock):
    names = [hash_uid(f"1.2.{number}") for number in range(5)]
    for name in names:
        arrive(ledger, "1", study=name)
        clock.pass_by(1)
    newest = [study.study for study in ledger.studies(newest_first=True)]
    assert newest == names[::-1]
    assert [one.study for one in ledger.studies(newest_first=True, limit=2, offset=1)] == newest[1:3]
    assert [one.study for one in ledger.studies(State.READY, limit=2)] == names[:2]
    assert ledger.studies(State.MADE, limit=2) == []


def test_a_study_is_found_by_the_beginning_of_its_hash(ledger):
    names = ["ab" + "0" * 62, "ab" + "1" * 62, "ac" + "0" * 62]
    for name in names:
        ledger.receive(name)
    assert ledger.find("ab") == names[:2]
    assert ledger.find("ab1") == [names[1]]
    assert ledger.find("a", limit=1) == names[:1]
    assert ledger.find(names[2]) == [names[2]]
    assert ledger.find("ad") == ledger.find("%") == ledger.find(names[2] + "0") == []


def test_reasons_are_counted_by_state(ledger, clock):
    for number in range(3):
        arrive(ledger, "1", study=hash_uid(f"1.2.{number}"))
        ledger.refuse(ledger.claim(Stage.MAKE), "tilt", f"tilted by {number}")
        clock.pass_by(1)
    bring(ledger, State.FAILED)
    assert ledger.reasons() == [
        Reason(State.REFUSED, "tilt", 3, 1002),
        Reason(State.FAILED, "broken", 1, 1003),
    ]
    arrive(ledger, "1", "late")
    assert ledger.reasons() == [Reason(State.REFUSED, "tilt", 3, 1002)], "a superseded revision has none"
    make(ledger, "x", refused="the left of two")
    deliver(ledger)
    assert ledger.reasons()[1] == Reason(State.DELIVERED, "partly-refused", 1, 1003)


def test_studies_in_a_state_for_one_reason(ledger, clock):
    for number in range(3):
        arrive(ledger, "1", study=hash_uid(f"1.2.{number}"))
        make(ledger, f"x{number}", refused="one" if number else None)
        deliver(ledger)
        clock.pass_by(1)
    told = ledger.studies(State.DELIVERED, code="partly-refused", newest_first=True)
    assert [one.study for one in told] == [hash_uid("1.2.2"), hash_uid("1.2.1")]
    assert len(ledger.studies(State.DELIVERED, code="partly-refused", limit=1)) == 1
    assert ledger.studies(State.REFUSED, code="partly-refused") == []
    assert ledger.studies(code="partly-refused", newest_first=True) == told, "in whatever state"
    ledger.receive(hash_uid("1.2.9"))
    assert ledger.studies(State.RECEIVING, code="partly-refused") == []


def test_what_came_and_went_is_counted_from_a_moment_on(ledger, clock):
    assert (ledger.last_arrival(), ledger.last_entered(State.DELIVERED)) == (None, None)
    bring(ledger, State.DELIVERED)
    clock.pass_by(100)
    assert arrive(ledger, "1") is None, "the same again is no delivery"
    assert ledger.last_arrival() == 1100
    assert ledger.last_entered(State.DELIVERED) == 1000
    assert [ledger.entered(State.DELIVERED, since) for since in (0, 1000, 1001)] == [1, 1, 0]
    arrive(ledger, "1", "late")
    make(ledger, "y")
    withdraw(ledger, "2.25.x")
    deliver(ledger)
    assert ledger.entered(State.DELIVERED, 0) == 2, "also what was superseded since"
    assert ledger.entered(State.RECEIVING, 0) == 3


def test_arriving_studies_wait_since_nothing_came(ledger, clock):
    assert ledger.arriving() == Waiting(0, None)
    bring(ledger, State.DELIVERED)
    ledger.receive(STUDY)
    clock.pass_by(5)
    ledger.receive(STUDY)
    assert ledger.arriving() == Waiting(1, 1005)


def test_failures_do_not_make_a_study_wait_anew(ledger, clock):
    arrive(ledger, "1")
    for _ in range(2):
        clock.pass_by(1000)
        claim = ledger.claim(Stage.MAKE)
        assert ledger.waiting(Stage.MAKE) == Waiting(1, 1000)
        ledger.fail(claim, "broken", "it broke")
        assert ledger.waiting(Stage.MAKE) == Waiting(1, 1000)
    clock.pass_by(1000)
    ledger.fail(ledger.claim(Stage.MAKE), "broken", "it broke")
    assert ledger.waiting(Stage.MAKE) == Waiting(0, None), "quarantined"
    clock.pass_by(1000)
    ledger.retry(STUDY, "mended")
    assert ledger.waiting(Stage.MAKE) == Waiting(1, 5000)
    assert ledger.waiting(Stage.DELIVER) == Waiting(0, None)


def test_an_archive_that_does_not_answer_does_not_make_a_study_wait_anew(ledger, clock):
    bring(ledger, State.MADE)
    for _ in range(3):
        clock.pass_by(5)
        ledger.give_back(ledger.claim(Stage.DELIVER), "archive-down", "no answer")
    assert ledger.waiting(Stage.DELIVER) == Waiting(1, 1000)
    assert ledger.waiting(Stage.MAKE) == Waiting(0, None)


@pytest.mark.parametrize("state", [State.RUNNING, State.DELIVERING])
def test_a_lease_that_nobody_took_back_is_overdue(ledger, clock, state):
    bring(ledger, state)
    assert ledger.overdue() == Waiting(0, None)
    clock.pass_by(10)
    assert ledger.overdue() == Waiting(1, 1010)
    ledger.expire()
    assert ledger.overdue() == Waiting(0, None)


def test_the_latest_lines_of_the_journal(ledger):
    bring(ledger, State.DELIVERED)
    whole = ledger.history()
    assert len(whole) == 6
    assert ledger.history(latest=2) == ledger.history(STUDY, latest=2) == whole[-2:]
    assert ledger.history(latest=100) == whole


def test_the_lines_of_a_maker_however_many_made_results_together(ledger):
    arrive(ledger, "1")
    makers = [f"brain_segmentation_{number} 1.0 ({number:012x})" for number in range(40)]
    ledger.made(ledger.claim(Stage.MAKE), results("x"), "recipe", makers)
    (line,) = [one for one in ledger.history() if one.after is State.MADE]
    ledger.quarantine(STUDY, "why not")
    ledger.retry(STUDY, "made by brain_segmentation_99 1.0 (00000000009a)")
    for maker in (makers[0], "brain_segmentation_39", "brain_segmentation_39 1.0", f"{39:012x}"):
        assert ledger.made_by(maker) == [line]
    for other in ("brain_segmentation", "brain_segmentation_99", "40"):
        assert ledger.made_by(other) == []


def test_several_questions_are_about_one_moment(ledger, clock):
    bring(ledger, State.MADE)
    with LedgerView(ledger.path, clock) as view, view.reading():
        assert view.counts()[State.MADE] == 1
        ledger.claim(Stage.DELIVER)
        assert view.study(STUDY).state is State.MADE
        assert view.waiting(Stage.DELIVER).count == 1


def test_timings_of_the_latest_alone(ledger):
    claim = bring(ledger, State.RUNNING)
    assert ledger.timings(latest=2) == {}
    for seconds in (9.0, 1.0, 2.0):
        ledger.timed(claim, "reading", seconds)
    assert ledger.timings(latest=2) == {"reading": Timing(2, 3.0, 2.0)}
    assert ledger.timings(latest=50) == ledger.timings() == {"reading": Timing(3, 12.0, 9.0)}


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
    assert ledger.result_uids(STUDY) == {"2.25.x", "2.25.y"}
    assert ledger.result_uids(other) == set()
    assert ledger.result_paths(STUDY, "2.25.x") == ["x.dcm"]
    assert ledger.result_paths(other, "2.25.x") == []


def test_it_is_closed_when_other_threads_have_read(tmp_path, clock):
    """Or SQLite takes the process down with it."""
    ledger = open_ledger(tmp_path, clock)
    arrive(ledger, "1")
    closing = Thread(target=ledger.close)
    with ledger.reading():
        closing.start()
        closing.join(0.2)
        assert closing.is_alive()
        assert ledger.counts()[State.READY] == 1
    closing.join()
    with pytest.raises(LedgerError, match="cannot be read"):
        ledger.counts()


def test_a_forked_process_leaves_it_open_to_its_owner(ledger):
    with ledger.reading():  # a lock that is held for ever where it is inherited
        forked = get_context("fork").Process(target=Thread(target=ledger.close).run)
        forked.start()
        forked.join()
    assert forked.exitcode == 0
    arrive(ledger, "1")
    assert ledger.counts()[State.READY] == 1
