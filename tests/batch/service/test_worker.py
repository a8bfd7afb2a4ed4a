from __future__ import annotations

import errno
import json
import logging
import time
from threading import Event, Thread
from unittest.mock import Mock

import pytest

from medkit.batch.audit import AuditLog
from medkit.batch.delivery.destinations import FolderDestination
from medkit.batch.folder import JobFolder
from medkit.batch.intake.folder import take_folder
from medkit.batch.intake.take import Intake
from medkit.batch.ledger import Ledger, Policy, Stage, State
from medkit.batch.making import READ, MakingContext
from medkit.batch.service import carrier
from medkit.batch.service import worker as module
from medkit.batch.service.flights import FlightBoard
from medkit.batch.service.worker import Worker
from medkit.batch.spool import Spool, SpoolLimits
from tests.batch.making.studies import RULE, shelf_of
from tests.batch.service.studies import check_delivered_once, study_hash, write_numbered

NUMBERS = range(4)


@pytest.fixture(scope="module")
def shelf(bundle_root):
    return shelf_of(bundle_root)


class Bench:
    """A worker in this process, before a store with studies."""

    def __init__(self, folder, shelf) -> None:
        self.job, self.out = JobFolder(folder / "job"), folder / "out"
        self.out.mkdir()
        policy = Policy(attempts=3, delay_seconds=0.01)
        self.ledger = Ledger(self.job.ledger, "worker-1", policy)
        spool = Spool(self.job.spool, SpoolLimits(free_bytes=0))
        self.context = MakingContext(self.ledger, spool, (RULE,), shelf, self.job.results, ["out"])
        self.board = FlightBoard(folder / "hands", "worker-1")
        audit = AuditLog(self.job.audit, "worker-1")
        self.intake = Intake(self.ledger, spool, audit)
        self.worker = Worker(self.context, {"out": FolderDestination("out", self.out)}, audit, self.board)

    def run_until(self, condition) -> None:
        """Run the worker here until something is so."""

        def watch() -> None:
            while not condition():
                Event().wait(0.05)
            self.worker.stop()

        thread = Thread(target=watch, daemon=True)
        thread.start()
        self.worker.run()

    def states(self) -> dict[str, State]:
        return {record.study: record.state for record in self.ledger.studies()}


@pytest.fixture
def bench(tmp_path, shelf):
    bench = Bench(tmp_path, shelf)
    for number in NUMBERS:
        write_numbered(tmp_path / "in" / str(number), number)
    take_folder(tmp_path / "in", bench.intake)
    yield bench
    assert bench.ledger.faults() == []
    bench.ledger.close()


def test_what_lies_in_the_store_is_made_and_delivered(bench):
    bench.run_until(lambda: bench.ledger.counts()[State.DELIVERED] == len(NUMBERS))
    states = check_delivered_once(bench.job, bench.out)
    assert states == {study_hash(number): State.DELIVERED for number in NUMBERS}
    assert {"read", "predict", "write"} <= bench.ledger.timings().keys()


def test_what_is_made_here_is_delivered_here_at_once(bench, monkeypatch):
    monkeypatch.setattr(carrier, "_IDLE_SECONDS", 3600.0)
    until = time.monotonic() + 300
    bench.run_until(
        lambda: bench.ledger.counts()[State.DELIVERED] == len(NUMBERS) or time.monotonic() > until
    )
    assert bench.ledger.counts()[State.DELIVERED] == len(NUMBERS)


def test_freed_memory_is_given_back_after_studies(bench, monkeypatch):
    give_back = Mock()
    monkeypatch.setattr(module, "give_back_now_and_then", give_back)
    bench.run_until(lambda: bench.ledger.counts()[State.DELIVERED] == len(NUMBERS))
    assert give_back.call_count == len(NUMBERS)


def test_one_study_is_in_each_stage_and_no_more(bench, monkeypatch):
    reading, seen = module.read_study, []

    def read_study(claim, context):
        seen.append(len(bench.ledger.studies(State.RUNNING)))
        return reading(claim, context)

    monkeypatch.setattr(module, "read_study", read_study)
    bench.run_until(lambda: bench.ledger.counts()[State.DELIVERED] == len(NUMBERS))
    assert 1 <= max(seen) <= 3


def test_a_study_that_was_tried_before_is_alone(bench, monkeypatch):
    claim = bench.ledger.claim(Stage.MAKE)
    bench.ledger.fail(claim, "worker-died", "as it may be")
    reading, beside = module.read_study, []

    def read_study(now, context):
        if now.study == claim.study:
            beside.append(len(bench.board._flights) - 1)
        return reading(now, context)

    monkeypatch.setattr(module, "read_study", read_study)
    bench.run_until(lambda: bench.ledger.counts()[State.DELIVERED] == len(NUMBERS))
    assert beside == [0]


def test_what_waits_is_given_back_when_it_has_to_stop(bench, monkeypatch):
    predicting = Event()

    def predict_study(read, context):
        predicting.set()
        while len(bench.board._flights) < 3 or any(f.stage == READ for f in bench.board._flights.values()):
            Event().wait(0.01)  # until all places are taken, and two studies wait
        bench.worker.stop()
        raise OSError(5, "the disk")

    monkeypatch.setattr(module, "predict_study", predict_study)
    bench.run_until(lambda: False)
    assert predicting.is_set()
    records = bench.ledger.studies()
    assert [record.attempts for record in records if record.code == "disk-error"] == [1]
    assert [record.attempts for record in records if record.code == "worker-stopped"] == [0, 0]


def test_logs_and_audit_log_say_by_which_bundle_a_study_was_made(bench, shelf, caplog):
    caplog.set_level(logging.INFO, "medkit.batch")
    bench.worker.prepare()
    bench.run_until(lambda: bench.ledger.counts()[State.DELIVERED] == len(NUMBERS))
    maker = shelf.take(RULE.bundle).maker
    said = {one.getMessage(): one.medkit_fields for one in caplog.records}
    told = {"bundle": maker.bundle, "version": maker.version, "digest": maker.digest}
    assert said["bundle loaded"] == told
    assert said["study ended its making"]["makers"] == f"{maker.bundle} {maker.version} ({maker.digest[:12]})"
    lines = [json.loads(line) for path in sorted(bench.job.audit.glob("*.jsonl")) for line in path.open()]
    made = [line for line in lines if line["event"] == "study-made"]
    assert [told | {"study": line["study"], "revision": 1} for line in made] == [
        {key: line[key] for key in ("bundle", "version", "digest", "study", "revision")} for line in made
    ]
    assert {line["study"] for line in made} == {study_hash(number) for number in NUMBERS}


def test_what_the_audit_log_cannot_be_told_is_not_made_and_waits_until_it_can(bench, monkeypatch):
    monkeypatch.setattr(carrier, "_PAUSE_SECONDS", 0.01)
    append, refused = AuditLog.append, []

    def full(log, event, **fields):
        if event == "study-made" and len(refused) < 2:
            refused.append(fields["study"])
            assert bench.ledger.study(fields["study"]).state is State.RUNNING
            raise OSError(errno.ENOSPC, "no space left")
        return append(log, event, **fields)

    monkeypatch.setattr(AuditLog, "append", full)
    bench.run_until(lambda: bench.ledger.counts()[State.DELIVERED] == len(NUMBERS))
    for study in set(refused):
        codes = [entry.code for entry in bench.ledger.history(study)]
        assert codes.count("disk-error") == refused.count(study)
    lines = [json.loads(line) for path in sorted(bench.job.audit.glob("*.jsonl")) for line in path.open()]
    made = sorted(line["study"] for line in lines if line["event"] == "study-made")
    assert made == sorted(study_hash(number) for number in NUMBERS)


def test_nothing_is_begun_while_the_audit_log_takes_no_line(bench):
    (file,) = bench.job.audit.glob("*.jsonl")
    whole, until = file.read_bytes(), time.monotonic() + 2
    file.write_bytes(whole + b"garbage\n")
    bench.run_until(lambda: time.monotonic() > until)
    assert {entry.after for entry in bench.ledger.history()} == {State.RECEIVING, State.READY}
    file.write_bytes(whole)
