from __future__ import annotations

import pytest

from medkit.batch.ledger import IllegalTransition, LeaseLost, Stage, State, Withdrawal
from tests.batch.ledger.stories import (
    STUDY,
    arrive,
    bring,
    content,
    deliver,
    make,
    open_ledger,
    results,
    send,
    withdraw,
)

X = "2.25.x"


def in_delivery(ledger, *names):
    arrive(ledger, "1")
    make(ledger, *names)
    return ledger.claim(Stage.DELIVER)


def test_delivered_is_what_was_read_back(ledger, clock):
    claim = in_delivery(ledger, "x", "y")
    for uid in (X, "2.25.y"):
        with pytest.raises(IllegalTransition, match="expected every object to be read back"):
            ledger.delivered(claim)
        clock.pass_by(1)
        ledger.sending(claim, uid, "archive")
        clock.pass_by(1)
        ledger.sent(claim, uid, "archive")
        clock.pass_by(1)
        ledger.verified(claim, uid, "archive", content(uid[-1]))
    ledger.delivered(claim)
    x, y = ledger.results(STUDY, 1)
    assert (x.sending_at, x.delivered_at, x.verified_at) == (1001, 1002, 1003)
    assert (y.sending_at, y.delivered_at, y.verified_at) == (1004, 1005, 1006)


def test_what_was_refused_of_a_study_is_said_of_it_through_its_delivery(ledger, clock):
    arrive(ledger, "1")
    make(ledger, "x", makers=["brain 0.1.0 (0123)"], refused="the left of two")
    said = ("partly-refused", "the left of two")
    record = ledger.study(STUDY)
    assert (record.state, record.code, record.reason) == (State.MADE, *said)
    claim = ledger.claim(Stage.DELIVER)
    ledger.give_back(claim, "archive-down", "it does not answer", 1.0)
    clock.pass_by(1)
    claim = ledger.claim(Stage.DELIVER)
    send(ledger, claim)
    ledger.delivered(claim)
    record = ledger.study(STUDY)
    assert (record.state, record.code, record.reason) == (State.DELIVERED, *said)
    journal = [(one.before, one.after) for one in ledger.history(STUDY) if (one.code, one.reason) == said]
    assert journal == [(State.MADE, State.MADE), (State.DELIVERING, State.DELIVERED)]
    assert len(ledger.made_by("brain")) == 1
    arrive(ledger, "1", "late")
    make(ledger, "y")
    withdraw(ledger, X)
    deliver(ledger)
    record = ledger.study(STUDY)
    assert (record.state, record.code) == (State.DELIVERED, None), "of the later revision nothing was"


def test_another_content_is_no_delivery(ledger):
    claim = in_delivery(ledger, "x")
    ledger.sending(claim, X, "archive")
    ledger.sent(claim, X, "archive")
    with pytest.raises(IllegalTransition, match="to be read back from archive, got"):
        ledger.verified(claim, X, "archive", content("y"))
    with pytest.raises(IllegalTransition, match="1 were not"):
        ledger.delivered(claim)


def test_the_steps_have_an_order(ledger):
    claim = in_delivery(ledger, "x")
    with pytest.raises(IllegalTransition, match="expected it on its way"):
        ledger.sent(claim, X, "archive")
    with pytest.raises(IllegalTransition, match="before it is read back"):
        ledger.verified(claim, X, "archive", content("x"))
    ledger.sending(claim, X, "archive")
    ledger.sending(claim, X, "archive")  # after a crash nobody knows; asked again, it is the same object
    ledger.sent(claim, X, "archive")
    with pytest.raises(IllegalTransition, match="was delivered to archive already"):
        ledger.sending(claim, X, "archive")
    with pytest.raises(IllegalTransition, match="expected it on its way"):
        ledger.sent(claim, X, "archive")


def test_objects_are_those_that_were_made(ledger):
    claim = in_delivery(ledger, "x")
    for uid, destination in (("2.25.z", "archive"), (X, "elsewhere")):
        with pytest.raises(IllegalTransition, match=f"has no object {uid} for {destination}"):
            ledger.sending(claim, uid, destination)


def test_only_a_claim_for_delivery_delivers(ledger):
    claim = bring(ledger, State.RUNNING)
    with pytest.raises(IllegalTransition, match="expected it claimed to deliver, got make"):
        ledger.sending(claim, X, "archive")
    with pytest.raises(IllegalTransition, match="expected it claimed to deliver, got make"):
        ledger.delivered(claim)
    assert ledger.study(STUDY).state is State.RUNNING


@pytest.mark.parametrize("verdict", ["refuse", "skip"])
def test_what_is_being_delivered_gets_no_verdict(ledger, verdict):
    claim = in_delivery(ledger, "x")
    with pytest.raises(IllegalTransition, match="expected it claimed to make, got deliver"):
        getattr(ledger, verdict)(claim, "tilt", "it is tilted")
    with pytest.raises(IllegalTransition, match="expected it claimed to make, got deliver"):
        ledger.made(claim, results("y"), "recipe")


def test_a_worker_that_lost_its_lease_delivers_nothing(tmp_path, ledger, clock):
    old = in_delivery(ledger, "x")
    ledger.sending(old, X, "archive")
    clock.pass_by(10)
    with open_ledger(tmp_path, clock, "b") as other:
        new = other.claim(Stage.DELIVER)
        for late in (
            lambda: ledger.sending(old, X, "archive"),
            lambda: ledger.sent(old, X, "archive"),
            lambda: ledger.verified(old, X, "archive", content("x")),
            lambda: ledger.delivered(old),
        ):
            with pytest.raises(LeaseLost):
                late()
        (there,) = other.results(STUDY, 1)
        assert there.sending_at is not None, "the next asks the archive first"
        other.sent(new, X, "archive")
        other.verified(new, X, "archive", content("x"))
        other.delivered(new)
    assert [e.after for e in ledger.history(STUDY)].count(State.DELIVERED) == 1


def test_an_earlier_result_is_withdrawn_before_the_later_is_sent(ledger):
    bring(ledger, State.DELIVERED)
    arrive(ledger, "1", "late")
    assert ledger.withdrawals() == [], "the later is not made: it may have the same object"
    make(ledger, "y")
    assert ledger.withdrawals() == [Withdrawal(STUDY, X, "archive")]
    claim = ledger.claim(Stage.DELIVER)
    with pytest.raises(IllegalTransition, match=f"earlier object {X} to be withdrawn from archive first"):
        ledger.sending(claim, "2.25.y", "archive")
    withdraw(ledger, X)
    assert ledger.withdrawals(STUDY) == []
    send(ledger, claim)
    ledger.delivered(claim)
    with pytest.raises(IllegalTransition, match="is not to be withdrawn"):
        ledger.withdrawn(STUDY, X, "archive")


def test_a_later_revision_waits_for_who_may_still_be_sending_the_earlier(ledger, clock):
    claim = in_delivery(ledger, "x", "y")
    ledger.sending(claim, X, "archive")
    arrive(ledger, "1", "late")
    make(ledger, "z")
    while clock.now < claim.until:
        assert ledger.claim(Stage.DELIVER) is None
        assert ledger.withdrawals() == []
        clock.pass_by(1)
    assert ledger.claim(Stage.DELIVER) is not None
    assert ledger.withdrawals() == [Withdrawal(STUDY, X, "archive")], "y never left"


@pytest.mark.parametrize("verdict", ["refuse", "skip"])
def test_where_the_whole_study_is_refused_nothing_of_it_stays(ledger, verdict):
    bring(ledger, State.DELIVERED)
    arrive(ledger, "1", "rejection note")
    getattr(ledger, verdict)(ledger.claim(Stage.MAKE), "rejected", "a note rejects all of it")
    assert ledger.withdrawals() == [Withdrawal(STUDY, X, "archive")]
    withdraw(ledger, X)
    assert ledger.withdrawals() == []


def test_an_object_of_both_revisions_stays_and_is_sent_once(ledger, clock):
    bring(ledger, State.DELIVERED)
    clock.pass_by(5)
    arrive(ledger, "1", "of another series")
    make(ledger, "x", "y")
    assert ledger.withdrawals() == []
    carried, fresh = ledger.results(STUDY, 2)
    assert (carried.delivered_at, carried.verified_at, fresh.sending_at) == (1000, None, None)
    claim = ledger.claim(Stage.DELIVER)
    with pytest.raises(IllegalTransition, match="was delivered to archive already; read it back"):
        ledger.sending(claim, X, "archive")
    with pytest.raises(IllegalTransition, match="2 were not"):
        ledger.delivered(claim)
    send(ledger, claim)
    ledger.delivered(claim)

    arrive(ledger, "1", "of another series", "rejection note")
    make(ledger, "y")
    assert ledger.withdrawals() == [Withdrawal(STUDY, X, "archive")], "one object, whoever recorded it"
    claim = ledger.claim(Stage.DELIVER)
    send(ledger, claim)
    with pytest.raises(IllegalTransition, match=f"earlier object {X} to be withdrawn"):
        ledger.delivered(claim)
    withdraw(ledger, X)
    ledger.delivered(claim)
    assert [one.withdrawn_at for n in (1, 2) for one in ledger.results(STUDY, n) if one.uid == X] == [
        1005
    ] * 2


def test_a_withdrawn_object_is_not_made_again_under_its_uid(ledger):
    bring(ledger, State.DELIVERED)
    arrive(ledger, "1", "rejection note")
    ledger.refuse(ledger.claim(Stage.MAKE), "rejected", "a note rejects all of it")
    withdraw(ledger, X)
    arrive(ledger, "1", "rejection note", "good")
    assert ledger.withdrawn_uids(STUDY) == {X}
    claim = ledger.claim(Stage.MAKE)
    with pytest.raises(IllegalTransition, match=f"{X}: was withdrawn from archive; it needs another UID"):
        ledger.made(claim, results("y", "x"), "recipe")
    ledger.made(claim, results("z"), "recipe")
    assert ledger.results(STUDY, 3)[0].sending_at is None
    deliver(ledger)
    assert ledger.withdrawals() == []


def test_a_withdrawal_that_was_begun_holds_though_nobody_said_that_it_ended(ledger):
    bring(ledger, State.DELIVERED)
    arrive(ledger, "1", "late")
    with pytest.raises(IllegalTransition, match="expected its latest revision to be made"):
        ledger.withdrawing(STUDY, X, "archive")
    make(ledger, "y")
    with pytest.raises(IllegalTransition, match="expected word before it was withdrawn"):
        ledger.withdrawn(STUDY, X, "archive")
    ledger.withdrawing(STUDY, X, "archive")  # the note leaves, and the worker is killed
    arrive(ledger, "1", "late", "note that takes the late one back")
    with pytest.raises(IllegalTransition, match="was withdrawn"):
        make(ledger, "x")


@pytest.mark.parametrize("uid", [X, "2.25.y", "2.25.never"])
def test_what_counts_or_was_never_sent_is_not_withdrawn(ledger, uid):
    arrive(ledger, "1")
    make(ledger, "x", "y")
    arrive(ledger, "1", "late")
    make(ledger, "x")
    with pytest.raises(IllegalTransition, match="is not to be withdrawn"):
        ledger.withdrawing(STUDY, uid, "archive")
