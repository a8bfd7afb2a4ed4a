"""What has ended goes when its time is over, instances and results, and a line of the audit log says so."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest

from medkit.batch.identity import hash_uid
from medkit.batch.ledger import IllegalTransition, LedgerError, State
from medkit.batch.service.keeping import INSTANCES_PURGED, RESULTS_PURGED, purge_old, purge_study
from medkit.dicom.writing.stubs import is_stub
from tests.batch.ledger.stories import Clock, locked, open_ledger
from tests.batch.status.live import LiveBatch, study

DAY = 86400


@pytest.fixture
def batch(tmp_path):
    live = LiveBatch(tmp_path, Clock())
    yield live
    live.ledger.close()


def events(batch, name):
    """What the audit log says of a study since it came."""
    lines = [json.loads(line) for path in sorted(batch.job.audit.glob("*.jsonl")) for line in path.open()]
    return [one["event"] for one in lines if one.get("study") == study(name)][1:]


def purge(batch, days):
    return purge_old(batch.job, batch.ledger, batch.spool, batch.audit, days * DAY)


@pytest.mark.parametrize("state", [State.DELIVERED, State.REFUSED, State.SKIPPED, State.QUARANTINED])
def test_what_ended_goes_when_its_time_is_over(batch, state):
    batch.bring(state)
    assert purge(batch, 40000) == {INSTANCES_PURGED: [], RESULTS_PURGED: []}
    assert batch.spool.instances(study(state))
    gone = purge(batch, -40000)
    assert gone[INSTANCES_PURGED] == [study(state)]
    line = batch.ledger.history(study(state))[-1]
    assert (line.before, line.after, line.code) == (state, state, "instances-purged")
    assert line.reason == "their time was over"
    assert not batch.spool.instances(study(state))
    made = list(batch.job.results.rglob("*.dcm"))
    assert len(made) == (state is State.DELIVERED)
    assert gone[RESULTS_PURGED] == [study(state)] * len(made)
    assert all(is_stub(path) for path in made)


@pytest.mark.parametrize("state", [State.RECEIVING, State.READY, State.FAILED, State.MADE])
def test_what_goes_on_stays(batch, state):
    batch.bring(state)
    assert purge(batch, -40000) == {INSTANCES_PURGED: [], RESULTS_PURGED: []}
    assert batch.spool.instances(study(state))
    assert not any(is_stub(path) for path in batch.job.results.rglob("*.dcm"))


def test_one_study_is_removed_so_that_it_can_come_again(batch):
    batch.bring(State.REFUSED)
    hash_of = study(State.REFUSED)
    assert purge_study(batch.ledger, batch.spool, batch.audit, hash_of, "came with two contents") == 1
    assert batch.spool.studies() == []
    assert purge_study(batch.ledger, batch.spool, batch.audit, hash_of, "once more") == 0
    assert events(batch, State.REFUSED) == [INSTANCES_PURGED]
    batch.arrive(State.REFUSED)
    assert batch.ledger.study(hash_of).state is State.READY


def test_what_comes_while_its_study_is_removed_is_kept(batch, monkeypatch):
    """The same instance: it is acknowledged, and so has to be there."""
    batch.bring(State.REFUSED)
    real = batch.spool.discard

    def discard(*given, **options):
        batch.receive(State.REFUSED)
        return real(*given, **options)

    monkeypatch.setattr(batch.spool, "discard", discard)
    with pytest.raises(IllegalTransition, match="got being received"):
        purge_study(batch.ledger, batch.spool, batch.audit, study(State.REFUSED), "asked for")
    assert len(batch.spool.instances(study(State.REFUSED))) == 1


def test_nobody_is_told_that_an_instance_is_stored_while_its_study_is_removed(batch, monkeypatch):
    """Whenever it breaks off: what is out of the way then is nothing that came since."""
    batch.bring(State.REFUSED)
    hash_of, real = study(State.REFUSED), Path.rename

    def killed_behind(self, target):
        with pytest.raises(LedgerError, match="locked"):
            other.receive(hash_of)
        real(self, target)
        raise KeyboardInterrupt

    with open_ledger(batch.job.root, batch.clock) as other, monkeypatch.context() as patched:
        other._connection.execute("PRAGMA busy_timeout = 0")
        patched.setattr(Path, "rename", killed_behind)
        with pytest.raises(KeyboardInterrupt):
            purge_study(batch.ledger, batch.spool, batch.audit, hash_of, "asked for")
    batch.arrive(State.REFUSED)
    assert purge(batch, 40000) == {INSTANCES_PURGED: [], RESULTS_PURGED: []}
    assert len(batch.spool.instances(hash_of)) == 1
    assert [path.name for path in (batch.job.spool / "studies").iterdir()] == [hash_of]
    assert batch.ledger.study(hash_of).state is State.READY


def test_one_damaged_result_keeps_nothing_from_going(batch):
    """Not the patients' data behind it, and not the lines of the audit log."""
    batch.make("a")
    batch.ledger.quarantine(study("a"), "set aside")
    for name in ("b", "c"):
        batch.deliver(name)
    for path in batch.job.results.glob(f"{study('a')}/**/*.dcm"):
        path.write_bytes(b"garbage")
    everything = sorted(map(study, "abc"))
    gone = purge(batch, -40000)
    assert gone[INSTANCES_PURGED] == everything
    assert sorted(gone[RESULTS_PURGED]) == everything
    assert batch.spool.studies() == []
    left = list(batch.job.results.rglob("*.dcm"))
    assert len(left) == 2
    assert all(is_stub(path) for path in left)
    for name in "abc":
        assert events(batch, name) == [INSTANCES_PURGED, RESULTS_PURGED]
    assert purge(batch, -40000) == {INSTANCES_PURGED: [], RESULTS_PURGED: []}


def test_what_the_disk_refuses_is_tried_again_and_told_once(batch, monkeypatch):
    for name in "ab":
        batch.deliver(name)
    bad, real = batch.job.spool / "studies" / study("a"), Path.rename

    def refused(self, target):
        if self == bad:
            raise PermissionError(1, "Operation not permitted", str(self))
        return real(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refused)
        for _ in range(3):
            with pytest.raises(PermissionError, match=bad.name):
                purge(batch, -40000)
    assert batch.spool.studies() == [study("a")]
    assert all(is_stub(path) for path in batch.job.results.rglob("*.dcm"))
    assert purge(batch, -40000) == {INSTANCES_PURGED: [study("a")], RESULTS_PURGED: []}
    for name in "ab":
        assert sorted(events(batch, name)) == [INSTANCES_PURGED, RESULTS_PURGED]


def test_what_is_left_of_a_removal_that_broke_off_goes_with_the_next(batch, monkeypatch):
    batch.deliver("a")

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            purge(batch, -40000)
    (left,) = (batch.job.spool / "studies").iterdir()
    assert left.suffix == ".removed"
    assert purge(batch, 40000) == {INSTANCES_PURGED: [], RESULTS_PURGED: []}
    assert not left.exists()


def test_what_comes_while_what_is_old_goes_is_kept(batch, monkeypatch):
    """The same instance: it is acknowledged, and so has to be there."""
    batch.deliver("a")
    real = batch.ledger.purged

    def purged(one):
        real(one)
        batch.receive("a")

    monkeypatch.setattr(batch.ledger, "purged", purged)
    assert purge(batch, -40000)[INSTANCES_PURGED] == []
    assert len(batch.spool.instances(study("a"))) == 1


def test_nothing_goes_of_which_the_audit_log_cannot_be_told(batch, monkeypatch):
    batch.deliver("a")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(batch.audit, "append", full)
        with pytest.raises(OSError, match="No space left"):
            purge(batch, -40000)
    assert batch.spool.instances(study("a"))
    gone = purge(batch, -40000)
    assert gone == {INSTANCES_PURGED: [study("a")], RESULTS_PURGED: [study("a")]}
    assert events(batch, "a") == [INSTANCES_PURGED, RESULTS_PURGED]


def test_a_ledger_that_cannot_be_written_is_no_reason_to_say_that_there_is_nothing_to_purge(batch):
    batch.deliver("a")
    with locked(batch.ledger), pytest.raises(LedgerError, match="database is locked"):
        purge(batch, -40000)
    assert batch.spool.instances(study("a"))
    assert purge(batch, -40000)[INSTANCES_PURGED] == [study("a")]


def test_what_the_ledger_does_not_know_and_what_comes_in_this_moment_stays(batch, monkeypatch):
    batch.deliver("a")
    batch.spool.store("1.2.9", "1.2.9.1", io.BytesIO(b"of a stranger"))
    real = batch.audit.append

    def append(event, **fields):
        real(event, **fields)
        batch.ledger.receive(study("a"))

    monkeypatch.setattr(batch.audit, "append", append)
    assert purge(batch, -40000) == {INSTANCES_PURGED: [], RESULTS_PURGED: []}
    assert batch.spool.studies() == sorted([study("a"), hash_uid("1.2.9")])
