from __future__ import annotations

import errno
import logging

import pytest

from medkit.batch.identity import hash_uid
from medkit.batch.intake.quiet import QuietTimes, settle
from medkit.batch.ledger import Stage, State
from tests.batch.intake.door import body, events, open_intake, purge, settle_after
from tests.batch.ledger.stories import STUDY, Clock

OTHER = hash_uid("1.2.4")


def test_a_study_is_complete_after_its_quiet_time_and_not_before(intake, clock):
    intake.take("1.2.3", "1.2.3.1", body())
    assert settle(intake, 60).begun == {}
    clock.pass_by(59)
    intake.take("1.2.4", "1.2.4.1", body())
    assert settle(intake, 60).begun == {}
    clock.pass_by(1)
    assert settle(intake, 60).begun == {STUDY: 1}
    clock.pass_by(59)
    settled = settle(intake, 60)
    assert (settled.begun, settled.unchanged, settled.empty) == ({OTHER: 1}, (), ())
    assert events(intake) == [("study-complete", None)] * 2


def test_each_instance_begins_the_quiet_time_anew(intake, clock):
    for number in range(5):
        intake.take("1.2.3", f"1.2.3.{number}", body())
        assert settle(intake, 60).begun == {}
        clock.pass_by(59)
    assert settle(intake, 60).begun == {}
    clock.pass_by(1)
    assert settle(intake, 60).begun == {STUDY: 1}
    assert intake.ledger.study(STUDY).instances == 5


def test_time_in_which_nobody_listened_does_not_count(tmp_path, clock):
    intake = open_intake(tmp_path, clock)
    intake.take("1.2.3", "1.2.3.1", body())
    settle(intake, 60)
    intake.ledger.close()
    clock.pass_by(3600)
    intake = open_intake(tmp_path, clock)
    clock.pass_by(1)
    assert settle(intake, 60).begun == {}, "the sender of the rest could not reach us"
    intake.take("1.2.3", "1.2.3.2", body())
    assert settle_after(intake, clock, 60).begun == {STUDY: 1}
    assert intake.ledger.study(STUDY).instances == 2


@pytest.mark.parametrize("set_by", [86400, -86400])
def test_a_clock_that_is_set_changes_nothing(tmp_path, clock, set_by):
    intake = open_intake(tmp_path, clock)
    watch = Clock()
    intake.quiet = QuietTimes(watch)
    intake.take("1.2.3", "1.2.3.1", body())
    settle(intake, 60)
    clock.pass_by(set_by)
    watch.pass_by(59)
    assert settle(intake, 60).begun == {}
    watch.pass_by(1)
    assert settle(intake, 60).begun == {STUDY: 1}


def test_what_another_process_takes_is_seen(tmp_path, clock):
    node, service = (open_intake(tmp_path, clock, owner) for owner in ("node", "service"))
    for number in range(4):
        node.take("1.2.3", f"1.2.3.{number}", body())
        assert settle(service, 60).begun == {}
        clock.pass_by(40)
    clock.pass_by(20)
    assert settle(service, 60).begun == {STUDY: 1}


def test_the_same_instances_again_are_no_new_revision(intake, caplog):
    caplog.set_level(logging.INFO, "medkit.batch")
    intake.take("1.2.3", "1.2.3.1", body())
    settle(intake, 0)
    intake.take("1.2.3", "1.2.3.1", body())
    settled = settle(intake, 0)
    assert (settled.begun, settled.unchanged) == ({}, (STUDY,))
    told = [one.medkit_fields for one in caplog.records if one.message.startswith("study came again")]
    assert [fields["study"] for fields in told] == [STUDY[:12]]
    assert intake.ledger.study(STUDY).revision == 1


def test_only_the_studies_asked_about_are_looked_at(intake):
    for study in ("1.2.3", "1.2.4"):
        intake.take(study, f"{study}.1", body())
    assert settle(intake, 0, {OTHER}).begun == {OTHER: 1}
    assert intake.ledger.study(STUDY).state is State.RECEIVING


def test_a_study_of_which_nothing_could_be_stored_waits_and_is_told(intake, monkeypatch):
    with monkeypatch.context() as patched:

        def broken(*_):
            raise OSError(errno.EIO, "Input/output error")

        patched.setattr(intake.spool, "store", broken)
        with pytest.raises(OSError, match="Input/output"):
            intake.take("1.2.3", "1.2.3.1", body())
    assert settle(intake, 0).empty == (STUDY,)
    intake.take("1.2.3", "1.2.3.1", body())
    assert settle(intake, 0).begun == {STUDY: 1}


def test_what_comes_while_a_study_is_counted_makes_it_wait_again(intake, monkeypatch):
    intake.take("1.2.3", "1.2.3.1", body())
    real = intake.spool.digest

    def late(study):
        digest = real(study)
        monkeypatch.setattr(intake.spool, "digest", real)
        intake.take("1.2.3", "1.2.3.2", body())
        return digest

    monkeypatch.setattr(intake.spool, "digest", late)
    settled = settle(intake, 0)
    assert (settled.begun, settled.unchanged, settled.empty) == ({}, (), ())
    assert settle(intake, 0).begun == {STUDY: 1}
    assert intake.ledger.study(STUDY).instances == 2


def test_a_source_that_has_all_of_it_says_so_after_a_purge(intake):
    intake.take("1.2.3", "1.2.3.1", body())
    settle(intake, 0)
    claim = intake.ledger.claim(Stage.MAKE)
    intake.ledger.refuse(claim, "tilt", "it is tilted")
    purge(intake, STUDY)
    for number in ("1", "2"):
        intake.take("1.2.3", f"1.2.3.{number}", body())
    assert settle(intake, 0, whole=True).begun == {STUDY: 2}
    assert intake.ledger.study(STUDY).state is State.READY


def test_a_study_that_is_set_aside_as_soon_as_it_is_complete_is_told_with_its_reason(intake, caplog):
    caplog.set_level(logging.INFO, "medkit.batch")
    for sop in ("1.2.3.1", "1.2.3.2"):
        intake.take("1.2.3", sop, body())
        settle(intake, 0)
        ((level, fields),) = [(one.levelname, one.medkit_fields) for one in caplog.records]
        caplog.clear()
        assert STUDY.startswith(fields.pop("study"))
        if sop == "1.2.3.1":
            assert (level, fields) == ("INFO", {"revision": 1})
            intake.ledger.skip(intake.ledger.claim(Stage.MAKE), "no-rule", "no rule wants it")
            purge(intake, STUDY)
    assert (level, fields["state"], fields["code"]) == ("WARNING", "quarantined", "source-purged")
    assert "may be a part of the study" in fields["reason"]


def test_what_the_audit_log_cannot_be_told_is_not_complete_yet(intake, monkeypatch):
    intake.take("1.2.3", "1.2.3.1", body())
    append = intake.audit.append

    def full(event, **fields):
        raise OSError(28, "No space left on device")

    before = intake.ledger.history()
    monkeypatch.setattr(intake.audit, "append", full)
    with pytest.raises(OSError, match="No space"):
        settle(intake, 0)
    assert intake.ledger.history() == before
    assert [one.study for one in intake.ledger.arrivals()] == [hash_uid("1.2.3")]
    monkeypatch.setattr(intake.audit, "append", append)
    assert settle(intake, 0).begun == {hash_uid("1.2.3"): 1}
