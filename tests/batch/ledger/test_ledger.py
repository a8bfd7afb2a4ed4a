from __future__ import annotations

from contextlib import contextmanager

import pytest

from medkit.batch.identity import hash_uid
from medkit.batch.ledger import IllegalTransition, LeaseLost, Ledger, LedgerError, Policy, Stage, State, moves
from tests.batch.ledger.stories import (
    STUDY,
    Clock,
    arrive,
    bring,
    content,
    deliver,
    digest,
    make,
    open_ledger,
    results,
)

OTHER = hash_uid("1.2.4")


def test_a_study_goes_from_its_first_instance_to_its_archive(ledger, clock):
    ledger.receive(STUDY)
    ledger.receive(STUDY)
    assert ledger.study(STUDY).state is State.RECEIVING
    (arrival,) = ledger.arrivals()
    assert (arrival.study, arrival.arrivals) == (STUDY, 2)
    assert ledger.complete(arrival, digest("1", "2"), 2) == 1
    assert ledger.arrivals() == []

    claim = ledger.claim(Stage.MAKE)
    assert (claim.study, claim.revision, claim.digest, claim.attempt) == (STUDY, 1, digest("1", "2"), 1)
    assert ledger.study(STUDY).owner == "a"
    ledger.made(claim, results("x", "y"), "bundle 1")
    assert ledger.claim(Stage.MAKE) is None

    deliver(ledger)
    found = ledger.study(STUDY)
    assert (found.state, found.instances, found.recipe, found.owner) == (State.DELIVERED, 2, "bundle 1", None)
    assert [one.verified_at for one in ledger.results(STUDY, 1)] == [clock.now] * 2
    moves = [(entry.before, entry.after) for entry in ledger.history(STUDY)]
    assert moves == [
        (None, State.RECEIVING),
        (None, State.READY),
        (State.READY, State.RUNNING),
        (State.RUNNING, State.MADE),
        (State.MADE, State.DELIVERING),
        (State.DELIVERING, State.DELIVERED),
    ]
    assert {entry.actor for entry in ledger.history()} == {"a"}
    assert ledger.claim(Stage.MAKE) is ledger.claim(Stage.DELIVER) is None


def test_what_a_power_cut_may_take_back_does_not_wait_for_the_disk(ledger, monkeypatch):
    """Of instances all but the first of a study: they change a number that nobody needs then."""
    synced = []
    monkeypatch.setattr(moves, "transaction", spying(moves.transaction, synced))

    def waited(action):
        synced.clear()
        action()
        return any(synced)

    assert waited(lambda: ledger.receive(STUDY))
    assert not waited(lambda: ledger.receive(STUDY))
    assert ledger.arrivals()[0].arrivals == 2
    (arrival,) = ledger.arrivals()
    assert waited(lambda: ledger.complete(arrival, digest("1"), 1))
    claim = ledger.claim(Stage.MAKE)
    assert not waited(lambda: ledger.timed(claim, "read", 0.1))
    assert waited(lambda: ledger.heartbeat(claim))
    ledger.give_back(claim, "test", "goes on")
    assert waited(lambda: ledger.receive(STUDY)), "of a study that was complete"
    assert not waited(lambda: ledger.receive(STUDY))
    assert ledger.arrivals()[0].arrivals == 4


def spying(transaction, told):
    """A transaction that tells whether it changed something and waited for the disk."""

    @contextmanager
    def watched(connection, *, synced=True):
        before = connection.total_changes
        with transaction(connection, synced=synced):
            yield
        told.append(synced and connection.total_changes > before)

    return watched


def test_all_of_it_is_there_for_the_next_process(tmp_path, clock):
    with open_ledger(tmp_path, clock) as ledger:
        bring(ledger, State.MADE)
    with open_ledger(tmp_path, clock, "b") as ledger:
        assert deliver(ledger).study == STUDY


def test_nothing_of_a_study_is_begun_while_it_is_received(ledger):
    arrive(ledger, "1")
    make(ledger, "x")
    ledger.receive(STUDY)
    assert ledger.claim(Stage.DELIVER) is None
    assert arrive(ledger, "1") is None, "the same instance again is nothing new"
    assert ledger.study(STUDY).state is State.MADE
    assert ledger.claim(Stage.DELIVER) is not None


def test_what_comes_between_the_quiet_and_the_count_is_waited_for(ledger):
    ledger.receive(STUDY)
    (arrival,) = ledger.arrivals()
    ledger.receive(STUDY)
    with pytest.raises(IllegalTransition, match="wait again"):
        ledger.complete(arrival, digest("1"), 1)
    assert ledger.study(STUDY).state is State.RECEIVING
    assert arrive(ledger, "1", "2") == 1
    with pytest.raises(IllegalTransition, match="wait again"):
        ledger.complete(arrival, digest("1"), 1)


def test_the_longest_waiting_goes_first_and_each_once(ledger, clock):
    arrive(ledger, "1", study=OTHER)
    clock.pass_by(1)
    arrive(ledger, "1")
    assert [ledger.claim(Stage.MAKE).study, ledger.claim(Stage.MAKE).study] == [OTHER, STUDY]
    assert ledger.claim(Stage.MAKE) is None


def test_each_failure_doubles_the_wait_up_to_the_longest(ledger, clock):
    arrive(ledger, "1")
    for wait in (60, 120):
        assert ledger.fail(ledger.claim(Stage.MAKE), "broken", "it\nbroke") is State.FAILED
        assert ledger.study(STUDY).reason == "it broke"
        clock.pass_by(wait - 1)
        assert ledger.claim(Stage.MAKE) is None
        clock.pass_by(1)
    assert ledger.fail(ledger.claim(Stage.MAKE), "broken", "it broke") is State.QUARANTINED
    clock.pass_by(1e9)
    assert ledger.claim(Stage.MAKE) is None
    assert [study.study for study in ledger.studies(State.QUARANTINED)] == [STUDY]


def test_a_poison_study_does_not_hold_up_the_others(ledger):
    arrive(ledger, "1")
    arrive(ledger, "1", study=OTHER)
    ledger.fail(ledger.claim(Stage.MAKE), "broken", "it broke")
    assert ledger.claim(Stage.MAKE).study == OTHER


def test_a_study_that_kills_its_workers_is_quarantined(ledger, clock):
    arrive(ledger, "1")
    for attempt in (1, 2, 3):
        assert ledger.claim(Stage.MAKE).attempt == attempt
        clock.pass_by(10)
        assert ledger.expire() == 1
    found = ledger.study(STUDY)
    assert (found.state, found.code) == (State.QUARANTINED, "lease-lost")
    assert "nothing was heard of a at attempt 3" in found.reason


def test_attempts_at_delivery_are_counted_anew(ledger, clock):
    arrive(ledger, "1")
    ledger.fail(ledger.claim(Stage.MAKE), "broken", "it broke")
    clock.pass_by(60)
    make(ledger, "x")
    for state in (State.MADE, State.MADE, State.QUARANTINED):
        assert ledger.fail(ledger.claim(Stage.DELIVER), "not-same", "read back another") is state
        clock.pass_by(150)
    assert ledger.retry(STUDY, "the archive was mended") is State.MADE
    deliver(ledger)


def test_what_is_given_back_is_no_attempt(ledger, clock):
    bring(ledger, State.MADE)
    for _ in range(10):
        ledger.give_back(ledger.claim(Stage.DELIVER), "archive-silent", "no answer", delay_seconds=5)
        assert ledger.claim(Stage.DELIVER) is None
        clock.pass_by(5)
    assert ledger.claim(Stage.DELIVER).attempt == 1


def test_a_heartbeat_keeps_a_claim_and_silence_loses_it(tmp_path, ledger, clock):
    claim = bring(ledger, State.RUNNING)
    for _ in range(5):
        clock.pass_by(9)
        claim = ledger.heartbeat(claim)
        assert claim.until == clock.now + 10
        assert ledger.expire() == 0
    clock.pass_by(10)
    with open_ledger(tmp_path, clock, "b") as other:
        taken = other.claim(Stage.MAKE)
        assert (taken.study, taken.attempt) == (STUDY, 2)
        for late in (
            lambda: ledger.heartbeat(claim),
            lambda: ledger.made(claim, results("x"), "recipe"),
            lambda: ledger.fail(claim, "broken", "it broke"),
            lambda: ledger.refuse(claim, "tilt", "it is tilted"),
            lambda: ledger.skip(claim, "no-rule", "no rule"),
            lambda: ledger.give_back(claim, "stopped", "stopped"),
            lambda: ledger.timed(claim, "reading", 1.0),
        ):
            with pytest.raises(LeaseLost, match="no longer a's to make; leave it"):
                late()
        other.made(taken, results("x"), "recipe")
    assert ledger.study(STUDY).state is State.MADE
    assert len(ledger.results(STUDY, 1)) == 1


def test_a_worker_that_claims_its_lost_study_again_cannot_use_the_old_claim(ledger, clock):
    old = bring(ledger, State.RUNNING)
    clock.pass_by(10)
    new = ledger.claim(Stage.MAKE)
    assert new.token != old.token
    with pytest.raises(LeaseLost):
        ledger.heartbeat(old)
    ledger.heartbeat(new)


def test_a_lease_that_ran_out_is_lost_though_nobody_took_it(ledger, clock):
    claim = bring(ledger, State.RUNNING)
    clock.pass_by(10)
    with pytest.raises(LeaseLost):
        ledger.made(claim, results("x"), "recipe")
    assert ledger.claim(Stage.MAKE).attempt == 2


@pytest.mark.parametrize("state", sorted(set(State) - {State.RECEIVING, State.SUPERSEDED}))
def test_late_slices_supersede_an_earlier_revision_in_any_state(ledger, state):
    claim = bring(ledger, state)
    assert arrive(ledger, "1", "late") == 2
    found = ledger.study(STUDY)
    assert (found.state, found.revision, found.digest) == (State.READY, 2, digest("1", "late"))
    assert ledger.history(STUDY)[-2].after is State.SUPERSEDED
    if claim is not None:
        with pytest.raises(LeaseLost):
            ledger.heartbeat(claim)
    assert ledger.claim(Stage.MAKE).revision == 2


@pytest.mark.parametrize("state", sorted(set(State) - {State.RECEIVING, State.SUPERSEDED}))
def test_the_same_instances_again_change_nothing(ledger, state):
    bring(ledger, state)
    before = ledger.study(STUDY)
    assert arrive(ledger, "1") is None
    assert ledger.study(STUDY) == before


RETRIED = {State.QUARANTINED, State.REFUSED, State.SKIPPED}


@pytest.mark.parametrize("state", sorted(set(State) - {State.SUPERSEDED}))
def test_a_person_can_retry_what_came_to_nothing(ledger, state):
    bring(ledger, state)
    if state in RETRIED:
        assert ledger.retry(STUDY, "the rules were mended") is State.READY
        assert ledger.claim(Stage.MAKE).attempt == 1
    else:
        before = ledger.study(STUDY)
        with pytest.raises(IllegalTransition, match="expected it quarantined, refused or skipped, got"):
            ledger.retry(STUDY, "why not")
        assert ledger.study(STUDY) == before


@pytest.mark.parametrize("state", sorted(set(State) - {State.SUPERSEDED}))
def test_a_person_can_set_aside_what_waits(ledger, state):
    bring(ledger, state)
    before = ledger.study(STUDY)
    if state in (State.READY, State.FAILED, State.MADE):
        ledger.quarantine(STUDY, "asked for by the ward")
        found = ledger.study(STUDY)
        assert (found.state, found.code, found.reason) == (
            *(State.QUARANTINED, "set-aside"),
            "asked for by the ward",
        )
        ledger._clock.pass_by(10_000)
        assert ledger.claim(Stage.MAKE) is ledger.claim(Stage.DELIVER) is None
        expected = State.MADE if state is State.MADE else State.READY
        assert ledger.retry(STUDY, "it may go on") is expected
    else:
        if state is State.QUARANTINED:
            ledger.quarantine(STUDY, "nobody will mend it")
            before = ledger.study(STUDY)
            assert (before.state, before.code, before.reason) == (state, "set-aside", "nobody will mend it")
            last = ledger.history(STUDY)[-1]
            assert (last.before, last.after, last.code) == (state, state, "set-aside")
        with pytest.raises(
            IllegalTransition, match=r"wait \(ready, failed or made\) or quarantined, got"
        ) as said:
            ledger.quarantine(STUDY, "why not")
        assert ledger.study(STUDY) == before
        assert ("it is set aside already" in str(said.value)) == (state is State.QUARANTINED)
        if state is State.QUARANTINED:
            assert ledger.retry(STUDY, "it may go on") is State.READY


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (State.RUNNING, "a worker has it: wait until it is made"),
        (
            State.DELIVERED,
            "got delivered; nothing of it waits; results that are not to be used are taken back",
        ),
        (State.REFUSED, "unless it comes anew or medkit batch retry says so"),
    ],
)
def test_what_does_not_wait_says_what_else_to_do(ledger, state, said):
    bring(ledger, state)
    with pytest.raises(IllegalTransition, match=said):
        ledger.quarantine(STUDY, "why not")


def test_an_unknown_study_cannot_be_retried(ledger):
    with pytest.raises(IllegalTransition, match="got no revision of it"):
        ledger.retry(STUDY, "why not")
    with pytest.raises(IllegalTransition, match="got no revision of it"):
        ledger.quarantine(STUDY, "why not")
    with pytest.raises(LedgerError, match="expected the hash of a study"):
        ledger.study(STUDY)


ENDS = {State.DELIVERED, State.REFUSED, State.SKIPPED, State.QUARANTINED}


@pytest.mark.parametrize("state", sorted(set(State) - {State.SUPERSEDED}))
def test_only_a_finished_study_may_be_purged(ledger, state):
    bring(ledger, state)
    if state in ENDS:
        ledger.purged(STUDY)
        assert ledger.study(STUDY).purged
    else:
        with pytest.raises(IllegalTransition, match="expected it at an end"):
            ledger.purged(STUDY)


def test_a_study_that_is_being_received_is_not_purged(ledger):
    bring(ledger, State.DELIVERED)
    ledger.receive(STUDY)
    with pytest.raises(IllegalTransition, match="being received"):
        ledger.purged(STUDY)


def test_the_late_part_of_a_purged_study_is_not_taken_for_the_whole(ledger):
    bring(ledger, State.DELIVERED)
    ledger.purged(STUDY)
    assert arrive(ledger, "late") == 2
    found = ledger.study(STUDY)
    assert (found.state, found.code) == (State.QUARANTINED, "source-purged")
    assert "1 instances came after" in found.reason
    assert ledger.withdrawals() == [], "a person looks first"
    assert arrive(ledger, "late", "later") == 3
    assert ledger.study(STUDY).state is State.QUARANTINED, "and still a part"
    assert arrive(ledger, "1", "late", "later") == 4
    assert ledger.retry(STUDY, "all were sent again") is State.READY


def test_a_purged_study_that_comes_whole_goes_on(ledger):
    bring(ledger, State.DELIVERED)
    ledger.purged(STUDY)
    assert arrive(ledger, "1", "late", whole=True) == 2
    assert ledger.study(STUDY).state is State.READY


def test_a_purged_study_that_comes_again_as_it_was_is_done_already(ledger):
    bring(ledger, State.REFUSED)
    ledger.purged(STUDY)
    with pytest.raises(IllegalTransition, match="its instances were purged"):
        ledger.retry(STUDY, "the rules were mended")
    assert arrive(ledger, "1") is None
    assert not ledger.study(STUDY).purged
    assert ledger.retry(STUDY, "the rules were mended") is State.READY


def set_aside(ledger, clock):
    """A study whose results were made and not delivered."""
    arrive(ledger, "1")
    make(ledger, "x")
    for _ in range(3):
        ledger.fail(ledger.claim(Stage.DELIVER), "not-same", "read back another")
        clock.pass_by(150)
    assert ledger.study(STUDY).state is State.QUARANTINED


def test_what_lost_its_results_is_made_anew_and_delivered(ledger, clock):
    set_aside(ledger, clock)
    ledger.results_purged(STUDY)
    ledger.results_purged(STUDY)
    (line,) = [one for one in ledger.history(STUDY) if one.code == "results-purged"]
    assert (line.before, line.after) == (State.QUARANTINED, State.QUARANTINED)
    assert ledger.retry(STUDY, "the archive was mended") is State.READY
    found = ledger.study(STUDY)
    assert (found.state, found.revision, found.instances) == (State.READY, 2, 1)
    make(ledger, "x")
    deliver(ledger)
    assert ledger.withdrawals() == []
    assert ledger.faults() == []


def test_what_lost_its_results_and_instances_is_made_once_they_came_again(ledger, clock):
    set_aside(ledger, clock)
    ledger.purged(STUDY)
    ledger.results_purged(STUDY)
    with pytest.raises(IllegalTransition, match="its instances were purged"):
        ledger.retry(STUDY, "the archive was mended")
    assert arrive(ledger, "1") is None
    assert ledger.retry(STUDY, "the archive was mended") is State.READY
    make(ledger, "x")
    deliver(ledger)


@pytest.mark.parametrize("state", sorted(set(State) - {State.SUPERSEDED}))
def test_results_are_purged_of_a_finished_study_alone(ledger, state):
    bring(ledger, state)
    if state in ENDS:
        ledger.results_purged(STUDY)
        assert ledger.study(STUDY).state is state
    else:
        with pytest.raises(IllegalTransition, match="expected it at an end"):
            ledger.results_purged(STUDY)


def no_hash():
    one = results("x")[0]
    return [type(one)(one.uid, one.destination, "abc", one.path)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "at least one result"),
        (results("x") + results("x"), "there twice for archive"),
        (no_hash(), "expected UID, destination, path and hash"),
    ],
)
def test_results_that_cannot_be_are_not_taken(ledger, given, message):
    claim = bring(ledger, State.RUNNING)
    with pytest.raises(IllegalTransition, match=message):
        ledger.made(claim, given, "recipe")
    assert ledger.study(STUDY).state is State.RUNNING
    assert ledger.results(STUDY, 1) == []
    ledger.made(claim, results("x") + results("x", destination="folder"), "recipe")
    assert len(ledger.results(STUDY, 1)) == 2


def test_one_uid_has_one_content(ledger):
    bring(ledger, State.DELIVERED)
    arrive(ledger, "1", "late")
    claim = ledger.claim(Stage.MAKE)
    (other,) = results("x")
    with pytest.raises(IllegalTransition, match="another content needs another UID"):
        ledger.made(claim, [type(other)(other.uid, other.destination, content("z"), "x.dcm")], "recipe")


@pytest.mark.parametrize("text", ["1.2.3", "A" * 64, "", "DOE^JOHN"])
def test_only_hashes_name_a_study(ledger, text):
    with pytest.raises(LedgerError, match="expected a SHA-256"):
        ledger.receive(text)
    assert ledger.studies() == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("one\n  two\t" + "x" * 1000, "one two ..."),
        ("word " * 200, "word " * 99 + "..."),
        ("x" * 1000, "x" * 496 + " ..."),
        ("word " * 99 + "words", "word " * 99 + "words"),
    ],
    ids=["long last word", "many words", "one word", "just short enough"],
)
def test_codes_are_short_and_reasons_one_line_of_whole_words(ledger, given, kept):
    claim = bring(ledger, State.RUNNING)
    with pytest.raises(LedgerError, match="kebab case"):
        ledger.refuse(claim, "Not a code", "x")
    ledger.refuse(claim, "tilt", given)
    assert ledger.study(STUDY).reason == ledger.history(STUDY)[-1].reason == kept
    assert len(kept) <= 500


def test_who_writes_must_be_named(tmp_path):
    with pytest.raises(LedgerError, match="expected the name of who writes"):
        Ledger(tmp_path / "ledger.sqlite", "", Policy(), Clock())
