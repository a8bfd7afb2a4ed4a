"""A study whose instances a person removes is begun anew by what comes next; and results are all made in one mode."""

from __future__ import annotations

import pytest

from medkit.batch.ledger import IllegalTransition, LeaseLost, LedgerError, Mode, Stage, State
from medkit.batch.ledger.states import ENDS
from tests.batch.ledger.stories import STUDY, arrive, bring, make, open_ledger, results


@pytest.mark.parametrize("state", [State.REFUSED, State.QUARANTINED, State.SKIPPED])
def test_what_comes_after_a_removal_is_the_whole_even_where_it_is_the_same(ledger, state):
    bring(ledger, state)
    ledger.discard(STUDY, "it came with two contents")
    record = ledger.study(STUDY)
    assert (record.state, record.purged) == (state, True)
    (entry,) = [one for one in ledger.history(STUDY) if one.code == "instances-removed"]
    assert (entry.before, entry.after, entry.reason) == (state, state, "it came with two contents")
    assert arrive(ledger, "1") == 2
    record = ledger.study(STUDY)
    assert (record.state, record.purged) == (State.READY, False)
    assert ledger.faults() == []


def test_a_purge_after_its_time_is_a_line_of_the_journal_once_and_takes_no_removal_back(ledger, clock):
    bring(ledger, State.REFUSED)
    ledger.purged(STUDY)
    ledger.purged(STUDY)
    lines = [one.code for one in ledger.history(STUDY)]
    assert lines.count("instances-purged") == 1
    clock.pass_by(1)
    ledger.discard(STUDY, "it is sent again, whole")
    clock.pass_by(1)
    ledger.purged(STUDY)
    assert arrive(ledger, "1", "late") == 2
    assert ledger.study(STUDY).state is State.READY


def test_what_was_delivered_and_comes_again_as_it_was_is_done(ledger):
    bring(ledger, State.DELIVERED)
    ledger.discard(STUDY, "asked for")
    assert arrive(ledger, "1") is None
    assert ledger.study(STUDY).state is State.DELIVERED


def test_other_instances_are_no_late_part(ledger):
    bring(ledger, State.DELIVERED)
    ledger.purged(STUDY)
    assert arrive(ledger, "late") == 2
    assert ledger.study(STUDY).code == "source-purged"
    ledger.discard(STUDY, "it is sent again, whole")
    assert arrive(ledger, "1", "late") == 3
    assert ledger.study(STUDY).state is State.READY


def test_a_person_says_that_what_came_after_a_purge_is_the_whole(ledger):
    arrive(ledger, "1", "2", "3")
    ledger.quarantine(STUDY, "set aside")
    assert ledger.said_whole(STUDY, 1) is None
    ledger.purged(STUDY)
    assert arrive(ledger, "2") == 2
    assert "1 instances came after the earlier ones (3) had been purged" in str(ledger.study(STUDY).reason)
    assert ledger.said_whole(STUDY, 2) is None, "nobody said so yet"
    ledger.retry(STUDY, "all that there is")
    assert ledger.said_whole(STUDY, 2) == (1, 3)
    assert arrive(ledger, "2", "4") == 3
    assert ledger.said_whole(STUDY, 3) == (1, 3), "one more does not make it all that there was"
    assert ledger.said_whole(STUDY, 1) is None
    ledger.quarantine(STUDY, "set aside")
    ledger.discard(STUDY, "it is sent again, whole")
    assert arrive(ledger, "1", "2", "3") == 4
    assert ledger.said_whole(STUDY, 4) is None


def test_what_may_be_a_part_stays_one_where_it_was_set_aside(ledger):
    bring(ledger, State.DELIVERED)
    ledger.purged(STUDY)
    assert arrive(ledger, "late") == 2
    ledger.quarantine(STUDY, "nobody will mend it")
    assert arrive(ledger, "late", "later") == 3
    assert ledger.study(STUDY).code == "source-purged"
    ledger.quarantine(STUDY, "nobody will mend it")
    ledger.retry(STUDY, "all that there is")
    assert ledger.said_whole(STUDY, 3) == (2, 1)
    assert arrive(ledger, "late", "later", "last") == 4
    assert ledger.study(STUDY).state is State.READY


def test_nobody_says_so_of_what_an_archive_counts(ledger):
    bring(ledger, State.DELIVERED)
    ledger.purged(STUDY)
    assert arrive(ledger, "late") == 2
    assert arrive(ledger, "1", "late", whole=True) == 3
    assert ledger.said_whole(STUDY, 3) is None


def test_a_removal_of_before_says_nothing_of_a_later_purge(ledger, clock):
    bring(ledger, State.REFUSED)
    ledger.discard(STUDY, "asked for")
    arrive(ledger, "1", "2")
    ledger.quarantine(STUDY, "set aside")
    clock.pass_by(1)
    ledger.purged(STUDY)
    assert arrive(ledger, "late") == 3
    assert ledger.study(STUDY).code == "source-purged"


@pytest.mark.parametrize("state", [one for one in State if one not in ENDS and one is not State.SUPERSEDED])
def test_what_goes_on_is_not_removed(ledger, state):
    bring(ledger, state)
    then = "set it aside first" if state in (State.READY, State.FAILED, State.MADE) else "wait until"
    with pytest.raises(IllegalTransition, match=f"expected it at an end, got .*; {then}"):
        ledger.discard(STUDY, "asked for")
    with pytest.raises(IllegalTransition, match="expected it at an end"), ledger.at_end(STUDY):
        pytest.fail("it is at none")


def test_nothing_comes_while_a_study_is_kept_at_its_end(tmp_path, clock, ledger):
    bring(ledger, State.DELIVERED)
    with open_ledger(tmp_path, clock, "another") as other:
        other._connection.execute("PRAGMA busy_timeout = 0")
        with ledger.at_end(STUDY), pytest.raises(LedgerError, match="locked"):
            other.receive(STUDY)
        other.receive(STUDY)
    with pytest.raises(IllegalTransition, match="being received"), ledger.at_end(STUDY):
        pytest.fail("it is at none")


NOBODY = Mode(about="remove-dates 0123abcd")


def test_a_batch_may_be_run_otherwise_until_something_is_made(ledger):
    assert ledger.mode() == Mode()
    for mode, changed in (
        (Mode(), False),
        (NOBODY, True),
        (NOBODY, False),
        (Mode(shadow=True), True),
        (NOBODY, True),
    ):
        assert ledger.run_as(mode) is changed
        assert ledger.mode() == mode
    arrive(ledger, "1")
    make(ledger, "X")
    assert not ledger.run_as(NOBODY)
    for mode in (Mode(), Mode(True, NOBODY.about), Mode(about="remove-dates 4567abcd")):
        with pytest.raises(
            LedgerError, match="expected it to be run without shadow mode, results about nobody"
        ):
            ledger.run_as(mode)
    assert ledger.mode() == NOBODY


def test_what_a_worker_of_before_has_in_hand_is_not_made_in_the_other_mode(ledger):
    arrive(ledger, "1")
    claim = ledger.claim(Stage.MAKE)
    ledger.run_as(NOBODY)
    with pytest.raises(LeaseLost):
        ledger.made(claim, results("X"), "recipe")
    assert not ledger.has_results()
    assert ledger.history(STUDY)[-1].code == "mode-changed"
    again = ledger.claim(Stage.MAKE)
    assert ledger.study(STUDY).attempts == 1, "it was no attempt"
    ledger.made(again, results("X"), "recipe")
