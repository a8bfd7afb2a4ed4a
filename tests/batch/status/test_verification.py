from __future__ import annotations

import io
import shutil
import sqlite3

import pytest

from medkit.batch.audit import Head
from medkit.batch.folder import JobFolder
from medkit.batch.ledger import Ledger, LedgerError, LedgerView, State
from medkit.batch.status.verification import verify
from tests.batch.status.live import study, uid


def check(batch, **options):
    with LedgerView(batch.job.ledger, batch.clock) as view:
        return verify(batch.job, view, **options)


def kinds(found):
    return [fault.kind for fault in found.faults]


def test_a_study_in_each_state_is_well(batch):
    batch.one_of_each()
    steps = []
    found = check(batch, on_progress=lambda done, total: steps.append((done, total)))
    assert (found.faults, found.studies, found.instances) == ((), 10, 10)
    assert found.head == batch.audit.verify().head
    assert steps == [(number, 10) for number in range(1, 11)]
    assert check(batch, hashes=False).instances == 0


def test_a_batch_of_a_ledger_alone_is_well_and_stays_so(tmp_path):
    job = JobFolder(tmp_path)
    with Ledger(job.ledger, "a") as ledger:
        found = verify(job, ledger)
    assert (found.faults, found.head) == ((), None)
    assert not job.spool.exists()
    assert not job.audit.exists()


def test_an_instance_with_other_bytes(batch):
    batch.deliver("a")
    (instance,) = batch.spool.instances(study("a"))
    instance.path.write_bytes(b"bitrot")
    found = check(batch)
    assert kinds(found) == ["instances"]
    assert str(instance.path) in found.faults[0].message
    assert check(batch, hashes=False).faults == ()


def test_instances_that_are_gone_or_others(batch):
    for name in ("a", "b"):
        batch.deliver(name)
    (batch.spool.instances(study("a"))[0].path).unlink()
    (instance,) = batch.spool.instances(study("b"))
    instance.path.rename(instance.path.with_name(f"{'0' * 64}-{instance.content}.dcm"))
    messages = {fault.message for fault in check(batch).faults}
    assert f"study {study('a')}: expected 1 stored instances, got none" in messages
    assert any(study("b") in message and "that are not these" in message for message in messages)
    assert len(messages) == 2


def test_a_store_that_is_gone_is_told_and_none_is_made_in_its_place(batch):
    batch.deliver("a")
    shutil.rmtree(batch.job.spool / "studies")
    (fault,) = check(batch).faults
    assert (fault.kind, "expected 1 stored instances, got none" in fault.message) == ("instances", True)
    assert not (batch.job.spool / "studies").exists()


def test_instances_that_were_purged_or_still_arrive_are_no_fault(batch):
    batch.deliver("a")
    batch.ledger.purged(study("a"))
    (batch.spool.instances(study("a"))[0].path).unlink()
    batch.deliver("b")
    batch.ledger.receive(study("b"))
    (batch.spool.instances(study("b"))[0].path).unlink()
    assert check(batch).faults == ()


def test_results_that_were_purged_before_they_were_delivered_are_no_fault(batch):
    batch.make("a")
    batch.ledger.quarantine(study("a"), "set aside")
    (path,) = batch.job.results.rglob("*.dcm")
    path.write_bytes(b"bitrot")
    assert kinds(check(batch)) == ["results"], "a person may have it delivered"
    batch.ledger.results_purged(study("a"))
    assert check(batch).faults == ()
    path.unlink()
    assert check(batch).faults == ()


def test_instances_of_a_study_that_the_ledger_does_not_know(batch):
    batch.spool.store(uid("a"), "1.2.3.4", io.BytesIO(b"x"))
    (batch.job.spool / "studies" / ("f" * 64)).mkdir()
    unknown, left = sorted(check(batch).faults, key=lambda fault: "dismissal" in fault.message)
    assert (unknown.kind, "does not know it" in unknown.message) == ("instances", True)
    assert (left.kind, f"{'f' * 64}: is left of a dismissal" in left.message) == ("instances", True)


def test_a_ledger_that_cannot_be_read_is_not_taken_for_one_that_does_not_know_a_study(batch, monkeypatch):
    batch.spool.store(uid("a"), "1.2.3.4", io.BytesIO(b"x"))

    def broken(*_):
        raise LedgerError("database disk image is malformed")

    for name in ("study", "find"):
        monkeypatch.setattr(LedgerView, name, broken)
    with pytest.raises(LedgerError, match="malformed"):
        check(batch)


@pytest.mark.parametrize("state", [State.MADE, State.DELIVERED])
def test_a_result_that_is_to_be_sent_must_be_there(batch, state):
    batch.bring(state)
    for path in batch.job.results.rglob("*.dcm"):
        path.unlink()
    assert kinds(check(batch)) == (["results"] if state is State.MADE else [])


@pytest.mark.parametrize("content", [b"", b"another"])
def test_a_result_that_is_to_be_sent_must_be_what_was_made(batch, content):
    batch.make("a")
    assert check(batch).faults == ()
    (path,) = batch.job.results.rglob("*.dcm")
    path.write_bytes(content)
    (fault,) = check(batch).faults
    assert (fault.kind, "got another content" in fault.message) == ("results", True)
    assert check(batch, hashes=False).faults == ()


def test_a_ledger_that_was_tampered_with(batch):
    batch.deliver("a")
    with sqlite3.connect(batch.job.ledger) as connection:
        connection.execute("UPDATE revisions SET state = 'skipped'")
    assert kinds(check(batch)) == ["ledger"]


def test_an_audit_log_that_was_tampered_with(batch):
    batch.one_of_each()
    kept = batch.audit.verify().head
    (log,) = batch.job.audit.glob("*.jsonl")
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:-1]))
    assert check(batch).faults == (), "its end shows only against a head that was kept"
    (fault,) = check(batch, through=[kept]).faults
    assert (fault.kind, "the end is gone" in fault.message) == ("audit", True)
    log.write_bytes(b"".join([*lines[:3], *lines[4:]]))
    found = check(batch)
    assert (kinds(found), found.head) == (["audit"], None), "one that does not hold has no end to be kept"
    log.unlink()
    (fault,) = check(batch).faults
    assert "expected the audit log of 9 studies in the ledger, got no line; find out" in fault.message
    (batch.job.audit / ".lock").unlink(missing_ok=True)
    batch.job.audit.rmdir()
    (fault,) = check(batch).faults
    assert (fault.kind, "got no such folder; find out" in fault.message) == ("audit", True)
    assert kinds(check(batch, through=[Head(1, "a" * 64)])) == ["audit"]


def test_what_moves_meanwhile_is_left_to_the_next_check(batch, monkeypatch):
    batch.make("a")
    for path in batch.job.results.rglob("*.dcm"):
        path.unlink()
    results = LedgerView.results

    def moving(view, *arguments):
        found = results(view, *arguments)
        batch.ledger.quarantine(study("a"), "meanwhile")
        return found

    monkeypatch.setattr(LedgerView, "results", moving)
    assert check(batch).faults == ()
