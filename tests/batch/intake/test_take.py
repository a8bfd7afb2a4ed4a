from __future__ import annotations

import errno
import json
import logging
import os
from types import SimpleNamespace

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

from medkit.batch.identity import hash_uid
from medkit.batch.intake.quiet import settle
from medkit.batch.intake.take import SUCCESS
from medkit.batch.ledger import Ledger, Result, Stage, State
from medkit.batch.marks import WHAT_TO_DO
from medkit.batch.service.keeping import purge_study
from medkit.batch.spool import NotTaken, SpoolLimits, Taken
from medkit.dicom.network.cut_off import CUT_OFF, TOO_LARGE
from medkit.dicom.network.node import NodeLimits, StorageNode
from medkit.dicom.network.rejection import rejection_uid
from tests.batch.intake.door import body, events, open_intake, put_back, settle_after, write_study
from tests.batch.ledger.killing import Killed, killed_before
from tests.batch.ledger.stories import POLICY, STUDY, deliver, make, withdraw


def test_what_was_taken_is_on_disk_and_in_the_ledger(intake):
    assert intake.take("1.2.3", "1.2.3.1", body()) is Taken.NEW
    assert intake.take("1.2.3", "1.2.3.1", body()) is Taken.SAME
    (instance,) = intake.spool.instances(STUDY)
    assert instance.path.read_bytes() == body().read()
    assert intake.ledger.study(STUDY).state is State.RECEIVING
    assert settle(intake, 0).begun == {STUDY: 1}
    assert events(intake) == [("study-complete", None)]


def test_the_ledger_knows_before_the_spool_and_nobody_can_claim(intake, monkeypatch):
    seen = []

    def store(*_):
        seen.append(intake.ledger.study(STUDY).arriving)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(intake.spool, "store", store)
    with pytest.raises(OSError, match="Input/output"):
        intake.take("1.2.3", "1.2.3.1", body())
    assert seen == [True]
    assert intake.ledger.claim(Stage.MAKE) is None


def test_an_instance_that_is_written_for_longer_than_the_quiet_time_is_not_left_out(
    intake, clock, monkeypatch
):
    intake.take("1.2.3", "1.2.3.1", body())
    real = intake.spool.store

    def slow(*given):
        assert settle_after(intake, clock, 60).begun == {STUDY: 1}, "the study seems to be all there"
        return real(*given)

    monkeypatch.setattr(intake.spool, "store", slow)
    intake.take("1.2.3", "1.2.3.2", body())
    assert intake.ledger.claim(Stage.MAKE) is None, "it waits for the rest"
    assert settle_after(intake, clock, 60).begun == {STUDY: 2}
    assert intake.ledger.study(STUDY).instances == 2


def test_own_results_that_come_back_change_nothing(intake):
    intake.take("1.2.3", "1.2.3.1", body())
    settle(intake, 0)
    claim = intake.ledger.claim(Stage.MAKE)
    made = Result("2.25.77", "archive", hash_uid("content"), "x.dcm")
    intake.ledger.made(claim, [made], "recipe")
    assert intake.take("1.2.3", "2.25.77\0", body(b"ours")) is None
    assert intake.answer("1.2.3", "2.25.77", body(b"ours")) == SUCCESS
    intake.leave("1.2.3", "2.25.77", CUT_OFF)
    assert intake.spool.missing(STUDY) == {}, "nobody would take that mark away"
    assert len(intake.spool.instances(STUDY)) == 1
    assert intake.ledger.study(STUDY).state is State.MADE
    assert not intake.ledger.study(STUDY).arriving
    assert intake.take("1.2.3", "2.25.78", body()) is Taken.NEW, "other people's UIDs begin so too"
    assert intake.take("1.2.4", "2.25.77", body()) is None, "results about nobody have another study"


def test_a_note_that_withdrew_a_result_changes_nothing(intake):
    note = rejection_uid(["2.25.X"])
    intake.take("1.2.3", "1.2.3.1", body())
    settle(intake, 0)
    make(intake.ledger, "X")
    deliver(intake.ledger)
    intake.take("1.2.3", "1.2.3.2", body())
    settle(intake, 0)
    make(intake.ledger, "Y")
    withdraw(intake.ledger, "2.25.X")
    assert intake.take("1.2.3", note, body(b"the note")) is None
    assert intake.take("1.2.4", note, body(b"the note")) is None
    other = rejection_uid(["2.25.Y"])
    assert intake.take("1.2.3", other, body()) is None, "as after a ledger was put back from a backup"
    assert intake.take("1.2.4", other, body()) is Taken.NEW


@pytest.mark.parametrize(
    ("limits", "free", "status", "code"),
    [
        (SpoolLimits(free_bytes=10), 9, 0xA700, "low-disk"),
        (SpoolLimits(free_bytes=0, instance_bytes=10), 9, 0xC000, "too-large"),
        (SpoolLimits(free_bytes=0, study_instances=0), 9, 0xC000, "too-many"),
    ],
)
def test_what_is_not_taken_is_answered_marked_and_told_once(
    tmp_path, clock, caplog, limits, free, status, code
):
    intake = open_intake(tmp_path, clock, limits=limits, usage=lambda _: SimpleNamespace(free=free))
    assert [intake.answer("1.2.3", f"1.2.3.{number}", body()) for number in range(3)] == [status] * 3
    with pytest.raises(NotTaken):
        intake.take("1.2.3", "1.2.3.1", body())
    assert set(intake.spool.missing(STUDY).values()) == {code}
    assert events(intake) == [("instance-not-taken", code)]
    ((message, fields),) = [(one.getMessage(), one.medkit_fields) for one in caplog.records]
    assert message == "not all of a study is taken"
    assert (fields["study"], fields["code"]) == (STUDY[:12], code)
    assert fields["reason"].startswith(
        "expected " if code != "low-disk" else f"{intake.spool.folder}: expected "
    )


def test_a_part_that_is_sent_again_to_a_full_disk_is_not_the_whole_but_a_whole_stays_so(tmp_path, clock):
    free = [100]
    limits, usage = SpoolLimits(free_bytes=10), lambda _: SimpleNamespace(free=free[0])
    intake = open_intake(tmp_path, clock, limits=limits, usage=usage)
    intake.take("1.2.3", "1.2.3.1", body())
    free[0] = 1
    assert intake.answer("1.2.3", "1.2.3.1", body()) == 0xA700
    assert intake.spool.missing(STUDY) == {hash_uid("1.2.3.1"): "low-disk"}, "its sender may have had more"
    free[0] = 100
    intake.take("1.2.3", "1.2.3.1", body())
    assert intake.spool.missing(STUDY) == {}
    settle(intake, 0)
    free[0] = 1
    assert intake.answer("1.2.3", "1.2.3.1", body()) == 0xA700
    assert intake.spool.missing(STUDY) == {}, "this is what was complete"


def test_an_instance_beyond_the_limit_of_the_node_leaves_its_study_marked(intake, tmp_path):
    study = write_study(tmp_path / "in")
    datasets = [dcmread(path) for path in study.paths]
    datasets[1].add_new(0x00204000, "LT", "x" * 1_000_000)
    limits = NodeLimits(instance_bytes=500_000)
    with StorageNode("US", intake.answer, ["THEM"], port=0, limits=limits, cut_off=intake.leave) as node:
        for dataset in datasets:
            caller = AE("THEM")
            caller.add_requested_context(dataset.SOPClassUID, ExplicitVRLittleEndian)
            association = caller.associate("127.0.0.1", node.port, ae_title="US")
            assert association.is_established
            association.send_c_store(dataset)
            association.release()
    assert len(intake.spool.instances(study.hash)) == 2
    assert intake.spool.missing(study.hash) == {hash_uid(datasets[1].SOPInstanceUID): "too-large"}
    assert events(intake) == [("instance-not-taken", "too-large")]
    with study.paths[1].open("rb") as file:
        intake.take(study.uid, datasets[1].SOPInstanceUID, file)
    assert intake.spool.missing(study.hash) == {}


def test_what_was_cut_off_is_missed_until_it_comes_unless_it_was_there(intake, caplog):
    for code in (CUT_OFF, TOO_LARGE):
        intake.leave("1.2.3", "1.2.3.1", code)
        assert set(intake.spool.missing(STUDY).values()) == {code}
        intake.take("1.2.3", "1.2.3.1", body())
        assert intake.spool.missing(STUDY) == {}
    intake.leave("1.2.3", "1.2.3.1", CUT_OFF)
    assert intake.spool.missing(STUDY) == {}, "it came again, and is there"
    intake.leave("1.2.3", "1.2.3.1", TOO_LARGE)
    assert intake.spool.missing(STUDY) == {hash_uid("1.2.3.1"): TOO_LARGE}, "it is another one"
    assert events(intake) == [("instance-not-taken", CUT_OFF), ("instance-not-taken", TOO_LARGE)]
    assert [one.medkit_fields for one in caplog.records] == [
        {"study": STUDY[:12], "code": CUT_OFF, "reason": "the sender broke off; send the study again"},
        {"study": STUDY[:12], "code": TOO_LARGE, "reason": WHAT_TO_DO[TOO_LARGE]},
    ], "each once"


def test_another_content_is_told_and_kept(intake):
    for content in (b"one", b"two", b"two", b"three"):
        intake.take("1.2.3", "1.2.3.1", body(content))
    assert intake.spool.conflicts(STUDY) == [hash_uid("1.2.3.1")]
    assert events(intake) == [("instance-conflict", "conflict")]


def test_who_sends_another_content_is_told_when_it_comes_once_each(intake, caplog):
    def bring(caller, content, number=1):
        intake.note_sender("1.2.3", f"1.2.3.{number}", caller, "10.0.0.7")
        intake.take("1.2.3", f"1.2.3.{number}", body(content))

    for number in (1, 2):
        bring("SCANNER", b"one", number)
    assert not [event for event, _ in events(intake) if event == "instance-conflict"]
    for number in (1, 2):
        bring("ROUTER", b"two", number)
    bring("PACS", b"three")
    lines = [json.loads(line) for path in intake.audit.folder.glob("*.jsonl") for line in path.open()]
    instance = hash_uid("1.2.3.1")
    assert [
        (one["instance"], one["ae_title"], one["address"])
        for one in lines
        if one["event"] == "instance-conflict"
    ] == [(instance, "ROUTER", "10.0.0.7"), (instance, "PACS", "10.0.0.7")]
    logged = [one for one in caplog.records if "another content" in one.getMessage()]
    assert [one.levelname for one in logged] == ["WARNING"] * 2
    assert logged[0].medkit_fields == {
        "study": STUDY[:12],
        "instance": instance[:12],
        "code": "conflict",
        "ae_title": "ROUTER",
        "address": "10.0.0.7",
    }


def test_what_is_not_taken_of_a_study_that_comes_again_is_told_again(intake):
    for _ in range(2):
        for content in (b"one", b"two"):
            intake.take("1.2.3", "1.2.3.1", body(content))
        intake.leave("1.2.3", "1.2.3.2", TOO_LARGE)
        settle(intake, 0)
        intake.ledger.skip(intake.ledger.claim(Stage.MAKE), "no-rule", "nothing to do")
        purge_study(intake.ledger, intake.spool, intake.audit, STUDY, "two contents")
    told = [code for event, code in events(intake) if event.startswith("instance-")]
    assert told == ["conflict", TOO_LARGE] * 2


def test_what_the_audit_log_could_not_be_told_is_told_the_next_time(intake, monkeypatch):
    def full(*args, **fields):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(intake.audit, "append", full)
        with pytest.raises(OSError, match="No space"):
            intake.leave("1.2.3", "1.2.3.1", TOO_LARGE)
    intake.leave("1.2.3", "1.2.3.1", TOO_LARGE)
    assert events(intake) == [("instance-not-taken", TOO_LARGE)]


def test_a_fault_of_ours_is_never_an_answer_that_loses_the_instance(intake, monkeypatch):
    assert intake.answer("", "1.2.3.1", body()) == 0xC000
    assert intake.answer("1.2.3", " \0", body()) == 0xC000

    def broken(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", broken)
        assert intake.answer("1.2.3", "1.2.3.1", body()) == 0xA700
    intake.ledger.close()
    assert intake.answer("1.2.3", "1.2.3.1", body()) == 0xA700
    intake.ledger = Ledger(intake.ledger.path, "node", POLICY)


def story(folder, clock, monkeypatch, fatal, kept):
    """Bring two instances and complete the study; what was acknowledged before the kill, and the statements in all."""
    acknowledged = []
    with killed_before(monkeypatch, None, kept) as watch:
        intake = open_intake(folder, clock)
        opened = watch.statements
        watch.fatal = None if fatal is None else opened + fatal
        try:
            for number in ("1", "2"):
                intake.take("1.2.3", f"1.2.3.{number}", body())
                acknowledged.append(hash_uid(f"1.2.3.{number}"))
                settle(intake, 0)
        except Killed:
            pass
        assert watch.fatal is None, "it was killed as asked for"
        intake.ledger.close()
    return acknowledged, watch.statements - opened


def test_killed_before_any_statement_what_was_acknowledged_is_there_and_the_rest_can_come_again(
    tmp_path, clock, monkeypatch
):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # no power is cut here
    _, total = story(tmp_path / "whole", clock, monkeypatch, None, tmp_path / "unused")
    assert total > 20
    for fatal in range(total):
        folder, kept = tmp_path / f"at{fatal}", tmp_path / f"kept{fatal}"
        acknowledged, _ = story(folder, clock, monkeypatch, fatal, kept)
        put_back(kept, folder)
        intake = open_intake(folder, clock)
        held = {one.instance for one in intake.spool.instances(STUDY)}
        assert set(acknowledged) <= held
        for number in ("1", "2"):  # the sender of what was not acknowledged tries again
            if hash_uid(f"1.2.3.{number}") not in acknowledged:
                intake.take("1.2.3", f"1.2.3.{number}", body())
        settle(intake, 0)
        record = intake.ledger.study(STUDY)
        assert (record.state, record.instances) == (State.READY, 2), f"killed before statement {fatal}"
        assert record.digest == intake.spool.digest(STUDY)
        assert intake.ledger.faults() == []
        intake.ledger.close()


def test_who_sends_a_study_is_told_once_a_caller_until_it_is_complete(intake, clock, caplog):
    caplog.set_level(logging.INFO, "medkit.batch")

    def bring(number, caller, address="10.0.0.7"):
        intake.note_sender("1.2.3", f"1.2.3.{number}", caller, address)
        intake.take("1.2.3", f"1.2.3.{number}", body())

    for number, caller in enumerate(("SCANNER", "SCANNER", "my PACS", "SCANNER")):
        bring(number, caller)
    settle_after(intake, clock, 60)
    bring(9, "SCANNER", "fe80::1%eth0")
    lines = [json.loads(line) for path in intake.audit.folder.glob("*.jsonl") for line in path.open()]
    told = [
        (one["study"], one["ae_title"], one["address"]) for one in lines if one["event"] == "study-arriving"
    ]
    senders = [("SCANNER", "10.0.0.7"), ("my PACS", "10.0.0.7"), ("SCANNER", "fe80::1%eth0")]
    assert told == [(STUDY, *one) for one in senders]
    assert [
        (one.medkit_fields["ae_title"], one.medkit_fields["address"])
        for one in caplog.records
        if one.getMessage() == "study begins to arrive"
    ] == senders


def test_own_results_that_come_back_begin_no_study(intake):
    intake.take("1.2.3", "1.2.3.1", body())
    settle(intake, 0)
    made = Result("2.25.77", "archive", hash_uid("content"), "x.dcm")
    intake.ledger.made(intake.ledger.claim(Stage.MAKE), [made], "recipe")
    before = events(intake)
    intake.note_sender("1.2.3", "2.25.77", "PACS", "10.0.0.7")
    intake.note_sender("", "1.2.3.1", "PACS", "10.0.0.7")
    assert (events(intake), intake._senders) == (before, {})
