from __future__ import annotations

import logging
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medkit.batch.delivery.deliver import Outcome
from medkit.batch.ledger import Policy, Stage, State
from medkit.dicom.network.archive import OF_ALL
from tests.batch.delivery.outlets import FAULTS, PATIENT, Job
from tests.batch.intake.door import put_back
from tests.batch.ledger.killing import Killed, killed_before
from tests.batch.ledger.stories import STUDY, Clock


def contents(results):
    return {one.uid: one.sha256 for one in results}


def test_every_object_is_at_every_destination_read_back_and_compared(job):
    made = job.make("7", "8")
    assert job.deliver() is Outcome.DELIVERED
    assert job.in_archive() == job.in_folder() == contents(made)
    assert job.record.state is State.DELIVERED
    assert all(one.verified_at for one in job.ledger.results(STUDY, 1))
    assert job.archive.sent == {"2.25.7": 1, "2.25.8": 1}
    assert job.archive.calls.count("read_back") == 2
    assert job.events() == ["object-sending"] * 2 + ["object-verified"] * 2 + ["object-sending"] * 2 + [
        "object-verified"
    ] * 2 + ["study-delivered"]
    timing = job.ledger.timings()["deliver"]
    assert timing.count == 1
    assert timing.total_seconds > 0


def test_many_objects_go_in_groups(job):
    job.make("7", "8", "5", destinations=["pacs"])
    assert job.deliver(together=2) is Outcome.DELIVERED
    assert job.archive.calls == ["send", "read_back", "read_back", "send", "read_back"]


def test_an_archive_that_does_not_answer_costs_no_attempt_and_is_asked_ever_later(job):
    job.make("7")
    waits = []
    for _ in range(5):
        job.archive.faults = ["down"]
        claim, waited = job.ledger.claim(Stage.DELIVER), 0
        while claim is None:
            job.clock.pass_by(1)
            waited += 1
            claim = job.ledger.claim(Stage.DELIVER)
        waits.append(waited)
        assert job.deliver(claim) is Outcome.GIVEN_BACK
    assert waits == [0, 5, 10, 20, 40]
    assert job.record.attempts == 0
    job.clock.pass_by(40)
    assert job.deliver() is Outcome.DELIVERED
    assert job.archive.sent == {"2.25.7": 1}


def test_a_destination_that_is_down_does_not_keep_the_others_from_their_objects(job):
    made = job.make("7")
    job.archive.faults = ["down"]
    assert job.deliver() is Outcome.GIVEN_BACK
    assert job.in_folder() == contents(made)
    assert job.in_archive() == {}
    job.clock.pass_by(5)
    before = (job.folder / "out" / STUDY / "2.25.7.dcm").stat().st_mtime_ns
    assert job.deliver() is Outcome.DELIVERED
    assert (job.folder / "out" / STUDY / "2.25.7.dcm").stat().st_mtime_ns == before, (
        "and it is not sent again"
    )


@pytest.mark.parametrize("code", sorted(OF_ALL))
def test_a_destination_that_lets_nobody_in_costs_no_study_an_attempt(tmp_path, code):
    job = Job(tmp_path, policy=replace(PATIENT, attempts=2))
    job.arrive("1")
    job.make("7", destinations=["pacs"])
    for _ in range(5):
        job.archive.faults = [code]
        assert job.deliver() is Outcome.GIVEN_BACK
        assert (job.record.state, job.record.code, job.record.attempts) == (State.MADE, code, 0)
        job.clock.pass_by(PATIENT.longest_delay_seconds)
    assert job.deliver() is Outcome.DELIVERED


@pytest.mark.parametrize(
    ("faults", "code", "said"),
    [
        (["refuses"], "not-for-you", "it said no"),
        (["refuses-objects"], "object-refused", "pacs: no, thank you"),
        (["raises"], "delivery-fault", "RuntimeError"),
        (["", "garbles"], "read-back-differs", "another content"),
    ],
)
def test_what_time_does_not_mend_is_a_failed_attempt_with_its_reason(job, faults, code, said):
    job.make("7", destinations=["pacs"])
    job.archive.faults = list(faults)
    assert job.deliver() is Outcome.FAILED
    assert (job.record.state, job.record.code, job.record.attempts) == (State.MADE, code, 1)
    assert said in job.record.reason
    assert "Somebody" not in job.record.reason
    job.clock.pass_by(5)
    assert job.deliver() is Outcome.DELIVERED, "the next try goes well"


def test_an_object_that_was_lost_behind_a_success_is_sent_again(job):
    made = job.make("7", destinations=["pacs"])
    job.archive.faults = ["lies"]
    assert job.deliver() is Outcome.GIVEN_BACK
    job.clock.pass_by(3600)
    assert job.deliver() is Outcome.FAILED
    assert job.record.code == "not-read-back"
    job.clock.pass_by(5)
    assert job.deliver() is Outcome.DELIVERED
    assert job.in_archive() == contents(made)


def test_an_archive_that_shows_objects_late_gets_them_once_and_costs_no_attempt(job, monkeypatch):
    job.make("7", "8")
    begun, real = job.clock(), job.archive.read_back
    monkeypatch.setattr(
        job.archive, "read_back", lambda *uids: real(*uids) if job.clock() - begun > 240 else None
    )
    outcomes = []
    for _ in range(20):
        outcomes.append(job.deliver())
        if outcomes[-1] is Outcome.DELIVERED:
            break
        assert (job.record.code, job.record.attempts) == ("not-shown-yet", 0)
        job.clock.pass_by(40)
    assert outcomes[-1] is Outcome.DELIVERED
    assert len(outcomes) > 2
    assert job.archive.sent == {"2.25.7": 1, "2.25.8": 1}


def test_another_object_under_its_uid_is_never_called_delivered(tmp_path):
    job = Job(tmp_path, policy=Policy(attempts=3, lease_seconds=10, delay_seconds=1))
    job.arrive("1")
    job.make("7", text="of another version", destinations=["pacs"])
    assert job.deliver() is Outcome.DELIVERED
    stranger = Job(tmp_path / "elsewhere", policy=job.policy)
    stranger.archive.objects = job.archive.objects
    stranger.arrive("1")
    stranger.make("7", destinations=["pacs"])
    for _ in range(3):
        assert stranger.deliver() is Outcome.FAILED
        stranger.clock.pass_by(10)
    assert (stranger.record.state, stranger.record.code) == (State.QUARANTINED, "read-back-differs")
    assert not any(one.verified_at for one in stranger.ledger.results(STUDY, 1))


def test_a_result_that_changed_on_disk_does_not_leave(job):
    (made,) = job.make("7", destinations=["pacs"])
    path = job.results / made.path
    content = path.read_bytes()
    for broken in (content.replace(b"well", b"wall"), content[:200], b""):
        path.write_bytes(broken)
        assert job.deliver() is Outcome.FAILED
        assert job.record.code == "result-damaged"
        job.clock.pass_by(100)
    path.unlink()
    assert job.deliver() is Outcome.FAILED
    assert job.archive.objects == {}
    job.clock.pass_by(100)
    path.write_bytes(content)
    assert job.deliver() is Outcome.DELIVERED


def test_a_destination_that_is_no_longer_set_up_is_told(job):
    job.make("7")
    gone = job.destinations.pop("pacs")
    assert job.deliver() is Outcome.FAILED
    assert job.record.code == "destination-unknown"
    assert job.in_folder().keys() == {"2.25.7"}
    job.destinations["pacs"] = gone
    job.clock.pass_by(5)
    assert job.deliver() is Outcome.DELIVERED


def test_late_slices_withdraw_what_is_no_longer_made_and_keep_what_is(job):
    job.make("7", "8")
    job.deliver()
    job.arrive("1", "late")
    made = job.make("8", "5")
    assert job.deliver() is Outcome.DELIVERED
    assert job.in_archive() == job.in_folder() == contents(made)
    assert job.archive.objects.keys() == {"2.25.7", "2.25.79", "2.25.8", "2.25.5"}
    assert job.archive.sent["2.25.8"] == 1, "an object of both is not sent twice"
    assert job.ledger.withdrawals() == []


@pytest.mark.parametrize(
    ("fault", "outcome", "code"),
    [("down", Outcome.GIVEN_BACK, "archive-down"), ("refuses", Outcome.FAILED, "not-for-you")],
)
def test_nothing_is_sent_before_what_was_there_is_withdrawn(job, fault, outcome, code):
    job.make("7")
    job.deliver()
    job.arrive("1", "late")
    made = job.make("5")
    job.archive.faults = [fault]
    assert job.deliver() is outcome
    assert job.record.code == code
    assert "2.25.5" not in job.archive.objects
    assert "2.25.5" not in job.in_folder()
    job.clock.pass_by(5)
    assert job.deliver() is Outcome.DELIVERED
    assert job.in_archive() == job.in_folder() == contents(made)


def test_an_object_that_was_delivered_and_is_gone_is_not_sent_again_by_itself(job):
    job.make("7")
    job.deliver()
    job.arrive("1", "late")
    job.make("7")
    job.archive.objects.clear()
    assert job.deliver() is Outcome.FAILED
    assert job.record.code == "result-gone"
    assert job.archive.objects == {}


def test_how_a_delivery_ended_is_logged_with_its_reason_and_destination(job, caplog):
    caplog.set_level(logging.INFO, "medkit.batch")
    job.make("7")
    job.archive.faults = ["down"]
    job.deliver()
    code, reason = job.record.code, job.record.reason
    job.clock.pass_by(5)
    job.deliver()
    first, second = [one for one in caplog.records if one.getMessage() == "study ended its delivery"]
    assert (first.levelname, second.levelname) == ("WARNING", "INFO")
    told = first.medkit_fields
    assert (told["outcome"], told["destination"], told["attempt"]) == ("given-back", "pacs", 1)
    assert (told["code"], told["reason"]) == (code, reason)
    assert second.medkit_fields.keys() == {"study", "outcome", "attempt", "seconds"}


def test_nothing_is_sent_after_the_lease(job):
    job.make("7")
    claim = job.ledger.claim(Stage.DELIVER)
    job.clock.pass_by(10)
    assert job.deliver(claim) is Outcome.LOST
    assert job.archive.objects == job.in_folder() == {}
    assert job.events() == ["object-sending", "delivery-lost"]


def test_nothing_is_sent_where_the_lease_ends_between_the_ledgers_word_and_the_sending(job, monkeypatch):
    job.make("7", destinations=["pacs"])
    real = job.ledger.sending

    def slow(*given):
        real(*given)
        job.clock.pass_by(10)

    monkeypatch.setattr(job.ledger, "sending", slow)
    assert job.deliver() is Outcome.LOST
    assert job.archive.objects == {}
    monkeypatch.undo()
    assert job.deliver() is Outcome.DELIVERED


def test_a_study_superseded_while_it_is_sent_leaves_nothing_behind(job, monkeypatch):
    job.make("7", destinations=["pacs"])
    real = job.archive.send

    def slow(paths):
        monkeypatch.setattr(job.archive, "send", real)
        job.arrive("1", "late")
        job.clock.pass_by(20)  # longer than the lease, as the network stood still
        job.make("5", destinations=["pacs"])
        assert job.deliver() is Outcome.DELIVERED, "another worker, which withdraws what may be there"
        return real(paths)

    monkeypatch.setattr(job.archive, "send", slow)
    assert job.deliver() is Outcome.LOST
    assert job.in_archive().keys() == {"2.25.5"}
    assert job.events()[-2:] == ["stray-withdrawn", "delivery-lost"]


def test_a_stray_that_cannot_be_taken_back_is_told(job, monkeypatch):
    job.make("7", destinations=["pacs"])
    real = job.archive.send

    def slow(paths):
        monkeypatch.setattr(job.archive, "send", real)
        job.arrive("1", "late")
        job.clock.pass_by(20)
        job.make("5", destinations=["pacs"])
        job.deliver()
        answers = real(paths)
        job.archive.faults = ["", "down"]
        return answers

    monkeypatch.setattr(job.archive, "send", slow)
    assert job.deliver() is Outcome.LOST
    assert job.events()[-2:] == ["stray-left", "delivery-lost"]


@settings(max_examples=25, deadline=None)
@given(
    faults=st.lists(st.sampled_from(FAULTS), max_size=12),
    objects=st.lists(st.sampled_from("5678"), min_size=1, max_size=4, unique=True),
    late=st.booleans(),
)
def test_whatever_an_archive_does_in_the_end_it_has_what_was_made_and_nothing_else(faults, objects, late):
    with tempfile.TemporaryDirectory() as folder:
        job = Job(Path(folder))
        job.arrive("1")
        made = job.make(*objects, destinations=["pacs"])
        job.archive.faults = list(faults)
        for turn in range(80):
            if late and turn == 2:
                job.arrive("1", "late")
                made = job.make(objects[0], "4", destinations=["pacs"])
            claim = job.ledger.claim(Stage.DELIVER)
            if claim is None:
                if job.record.state is State.DELIVERED and (turn > 2 or not late):
                    break
                job.clock.pass_by(2000)
                continue
            if job.deliver(claim, together=2) is Outcome.DELIVERED:
                assert all(one.verified_at for one in job.ledger.results(STUDY, job.record.revision))
        if job.record.state is not State.DELIVERED:
            assert job.record.code == "result-gone"
            assert late
            assert "not-yet" in faults, "what had been delivered was said not to be there"
        else:
            assert job.in_archive() == contents(made)
        assert job.ledger.faults() == []
        job.ledger.close()


class Mortal:
    """A destination or an audit log, before and after each call of which a kill may come."""

    def __init__(self, thing, watch, database):
        self.thing, self.watch, self.database = thing, watch, database

    def __getattr__(self, name):
        value = getattr(self.thing, name)
        if not callable(value):
            return value

        def call(*given, **more):
            self.watch.count(self.database)
            answer = value(*given, **more)
            self.watch.count(self.database)
            return answer

        return call


@pytest.fixture
def late(tmp_path):
    """A study that was delivered, and made again after late slices: a folder to copy, the archive, the results."""
    job = Job(tmp_path / "late")
    job.arrive("1")
    job.make("7", "8")
    assert job.deliver() is Outcome.DELIVERED
    job.arrive("1", "late")
    made = job.make("8", "5")
    job.ledger.close()
    return job, contents(made)


def deliver_and_be_killed(late, folder, monkeypatch, fatal):
    """The job after a kill at a place of this number, and how many places there are."""
    shutil.copytree(late.folder, folder)
    job = Job(folder, Clock(late.clock.now))
    job.archive.objects, job.archive.sent = dict(late.archive.objects), late.archive.sent.copy()
    job.ledger.close()
    kept = folder.with_suffix(".kept")
    with killed_before(monkeypatch, None, kept) as watch:
        job.open()
        opened, real = watch.statements, dict(job.destinations)
        watch.fatal = None if fatal is None else opened + fatal
        job.audit = Mortal(job.audit, watch, job.ledger.path)
        job.destinations = {name: Mortal(one, watch, job.ledger.path) for name, one in real.items()}
        killed = False
        try:
            job.deliver()
        except Killed:
            killed = True
        job.ledger.close()
    assert killed is (fatal is not None)
    if killed:
        put_back(kept, folder)
    job.destinations = real
    job.open()
    return job, watch.statements - opened


def test_killed_between_any_two_steps_it_ends_delivered_once_with_nothing_beside_it(
    late, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # the disk of this test loses no power
    before, made = late
    job, total = deliver_and_be_killed(before, tmp_path / "whole", monkeypatch, None)
    assert job.in_archive() == job.in_folder() == made
    job.ledger.close()
    assert total > 100
    for fatal in range(total):
        folder = tmp_path / f"at{fatal}"
        job, _ = deliver_and_be_killed(before, folder, monkeypatch, fatal)
        job.clock.pass_by(10)
        claim = job.ledger.claim(Stage.DELIVER)
        if claim is None:  # killed right after the last word
            assert job.record.state is State.DELIVERED
        else:
            assert job.deliver(claim) is Outcome.DELIVERED, f"killed at {fatal}"
        assert job.in_archive() == job.in_folder() == made, f"killed at {fatal}"
        assert set(job.archive.sent.values()) == {1}, "nothing is sent twice"
        ends = [
            one for one in job.ledger.history(STUDY) if one.after is State.DELIVERED and one.revision == 2
        ]
        assert len(ends) == 1
        assert job.ledger.withdrawals() == job.ledger.faults() == []
        assert job.audit.verify().broken is None
        job.ledger.close()
        shutil.rmtree(folder)
