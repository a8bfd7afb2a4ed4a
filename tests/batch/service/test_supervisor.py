from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, replace
from http.client import HTTPConnection
from multiprocessing import get_context
from threading import Timer

import pytest

from medkit.batch.audit import AuditError, AuditLog
from medkit.batch.folder import JobFolder, ServiceState
from medkit.batch.intake.counting import ArchiveCount, is_uncounted
from medkit.batch.ledger import Ledger, LedgerView, Mode, State
from medkit.batch.service import crew
from medkit.batch.service.process import Word
from medkit.batch.service.settings import Settings
from medkit.batch.service.supervisor import Supervisor
from medkit.batch.spool import SpoolLimits
from medkit.batch.status.alerts import Thresholds
from medkit.batch.status.service_record import ServiceRecord, service_alerts, service_state
from medkit.batch.status.summary import summarise
from medkit.errors import MedkitError, UsageError
from tests.batch.intake.door import open_intake, write_study
from tests.batch.intake.pulling import FakeArchive
from tests.batch.ledger.stories import Clock, arrive, make
from tests.dicom.network.takers import eventually
from tests.servers.loopback import free_port


def test_the_process_of_the_service_does_without_what_only_workers_need():
    script = (
        "import sys, medkit.batch.service.settings, medkit.batch.service.supervisor\n"
        "print([name for name in ('torch', 'monai', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.fixture
def settings(tmp_path):
    return Settings(
        job=JobFolder(tmp_path / "job"), rules=(), spool=SpoolLimits(free_bytes=0), status_port=None
    )


@contextmanager
def opened(settings):
    supervisor = Supervisor(settings)
    try:
        yield supervisor
    finally:
        supervisor.close()


@pytest.fixture
def let(monkeypatch):
    """Let workers be processes that begin in no time, and do as a function says."""

    def let(work):
        monkeypatch.setattr(crew, "_PROCESSES", get_context("fork"))
        monkeypatch.setattr(crew, "work", work)

    return let


def crash(settings, number, logs, pipe, proven):
    pipe.send((Word.ENDING, "it could not begin: ImportError"))


def wait(settings, number, logs, pipe, proven):
    pipe.send((Word.READY, None))
    time.sleep(60)


def test_a_folder_has_one_service_at_a_time(settings):
    with opened(settings), pytest.raises(UsageError, match="no other service works on"):
        Supervisor(settings)
    with opened(settings):
        pass


def test_who_looks_at_the_folder_knows_when_it_calls_a_person_and_whether_it_ended(settings):
    settings = replace(settings, thresholds=Thresholds(delivery_hours=7))
    with opened(settings):
        record = ServiceRecord.read(settings.job)
        assert (record.thresholds, record.kept_free_bytes) == (settings.thresholds, 0)
        assert record.began <= time.time()
        assert record.ended is None
        assert service_state(settings.job) is ServiceState.RUNNING
    assert ServiceRecord.read(settings.job).ended >= record.began
    assert service_state(settings.job) is ServiceState.STOPPED


@pytest.mark.parametrize("shadow", [False, True])
def test_a_folder_is_always_of_a_shadow_or_never(settings, shadow):
    begun, other = replace(settings, shadow=shadow), replace(settings, shadow=not shadow)
    for which in (other, begun):  # while nothing was made, it may become the other
        with opened(which) as supervisor:
            assert supervisor.ledger.mode() == Mode(which.shadow)
    with opened(begun) as supervisor:
        arrive(supervisor.ledger, "a")
        make(supervisor.ledger, "X")
    with pytest.raises(UsageError, match=f"always run {'with' if shadow else 'without'} shadow mode"):
        Supervisor(other)
    with opened(begun):
        pass


def test_it_serves_until_it_is_stopped_and_then_has_no_worker(settings, let):
    let(wait)
    with opened(settings) as supervisor:
        stopping = Timer(0.2, supervisor.stop)
        stopping.start()
        supervisor.serve()
        stopping.join()
        assert supervisor._crew.sentinels == []
        assert [
            thread.name for thread in threading.enumerate() if thread.name in ("settling", "keeping")
        ] == []


def test_an_audit_log_that_was_changed_is_told_while_the_service_works(settings, let):
    let(wait)
    audit = AuditLog(settings.job.audit, "node")
    for number in (1, 2):
        audit.append("received", count=number)
    (file,) = settings.job.audit.glob("*.jsonl")
    file.write_bytes(file.read_bytes().replace(b'"count":1', b'"count":7'))
    told = []
    with opened(settings) as supervisor:
        serving = threading.Thread(target=supervisor.serve)
        serving.start()
        with LedgerView(settings.job.ledger) as view:

            def is_told():
                told[:] = service_alerts(settings.job, summarise(view, time.time()))
                return bool(told)

            assert eventually(is_told)
        supervisor.stop()
        serving.join()
    (alert,) = told
    assert alert.code == "audit-broken"
    assert f"{file.name}, line 2: expected the hash of the line before" in alert.message


def test_an_audit_log_that_takes_no_more_lines_ends_the_service_before_anything_is_begun(settings):
    audit = AuditLog(settings.job.audit, "node")
    audit.append("received", count=1)
    (file,) = settings.job.audit.glob("*.jsonl")
    file.write_text("something else\n")
    with pytest.raises(AuditError, match="move its folder away"):
        Supervisor(settings)
    settings.job.audit.rename(settings.job.root / "audit-before")
    with opened(settings):
        pass


def test_an_audit_log_that_is_gone_though_there_are_studies_begins_with_a_line_of_it(settings, caplog):
    with Ledger(settings.job.ledger, "node") as ledger:
        for study in ("a" * 64, "b" * 64):
            ledger.receive(study)
        ledger.complete(ledger.arrivals()[0], "c" * 64, 1)
    for _ in range(2):
        with opened(settings):
            pass
    (file,) = settings.job.audit.glob("audit-*.jsonl")
    (line,) = map(json.loads, file.read_text().splitlines())
    assert (line["event"], line["count"]) == ("chain-begun", 1)
    (record,) = [one for one in caplog.records if "a new chain begins" in one.getMessage()]
    assert record.medkit_fields == {"folder": str(settings.job.audit), "studies": 1}


def test_the_end_of_the_audit_log_is_left_when_the_service_stops(settings, let):
    let(wait)
    with opened(settings) as supervisor:
        serving = threading.Thread(target=supervisor.serve)
        serving.start()
        assert eventually(lambda: (settings.job.audit / "head.json").is_file())
        head = supervisor._audit.append("received", count=1)
        supervisor.stop()
        serving.join()
    assert json.loads((settings.job.audit / "head.json").read_text()) == asdict(head)


def test_an_audit_log_that_takes_no_line_any_more_is_told_at_once_and_is_a_reason_to_start_anew(
    settings, let
):
    let(wait)
    settings = replace(settings, status_port=free_port())

    def health():
        asking = HTTPConnection("127.0.0.1", settings.status_port)
        asking.request("GET", "/health")
        answer = asking.getresponse()
        found = answer.status, json.loads(answer.read())["problems"]
        asking.close()
        return found

    with opened(settings) as supervisor:
        serving = threading.Thread(target=supervisor.serve)
        serving.start()
        assert eventually(lambda: (settings.job.audit / "head.json").is_file())
        supervisor._audit.append("received", count=1)
        (file,) = settings.job.audit.glob("*.jsonl")
        whole = file.read_bytes()
        file.write_bytes(whole + b"garbage\n")
        assert eventually(lambda: any("it takes no line" in one for one in health()[1]))
        assert health()[0] == 503
        file.write_bytes(whole)
        assert eventually(lambda: not any("it takes no line" in one for one in health()[1]))
        supervisor.stop()
        serving.join()


def test_a_full_disk_under_the_audit_log_keeps_no_service_from_its_start(settings, monkeypatch):
    def full(audit):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AuditLog, "take_up", full)
    with opened(settings):
        pass


def test_the_status_is_served_to_who_asks_by_one_of_its_names(settings):
    settings = replace(settings, status_port=free_port(), status_names=("status.example.org",))
    answers = {}
    with opened(settings) as supervisor, supervisor._listening():
        for name in ("status.example.org", "other.example.org"):
            asking = HTTPConnection("127.0.0.1", settings.status_port)
            asking.request("GET", "/health/live", headers={"Host": name})
            answers[name] = asking.getresponse().status
            asking.close()
    assert answers == {"status.example.org": 200, "other.example.org": 403}


def test_a_batch_whose_workers_never_begin_ends_with_the_cause(settings, let, monkeypatch, tmp_path):
    let(crash)
    monkeypatch.setattr(crew, "_PAUSES", (0.0,))
    write_study(tmp_path / "in")
    with (
        opened(settings) as supervisor,
        pytest.raises(MedkitError, match=r"dies each time \(it could not begin: ImportError\)"),
    ):
        supervisor.run_once([tmp_path / "in"], lambda *_: None)


def test_a_batch_that_is_stopped_before_its_end_says_so(settings, let, tmp_path):
    let(wait)
    write_study(tmp_path / "in")
    with opened(settings) as supervisor:
        assert supervisor.run_once([tmp_path / "in"], lambda *_: supervisor.stop()) is None
        assert "taking" not in [thread.name for thread in threading.enumerate()]
        assert supervisor.ledger.counts()[State.QUARANTINED] == 0


def test_what_a_node_began_to_take_is_made_where_a_folder_brings_it_and_else_waits_to_be_counted(
    settings, let, tmp_path
):
    """No node runs then, and the next service still has to count the other."""
    let(wait)
    one, other = write_study(tmp_path / "in"), write_study(tmp_path / "elsewhere", 2)
    intake = open_intake(settings.job.root, Clock())
    count = ArchiveCount("pacs", FakeArchive(one, other), intake, 60.0)
    for study in (one, other):
        source = io.BytesIO(study.paths[0].read_bytes())
        assert count.answer(study.uid, study.datasets[0].SOPInstanceUID, source) == 0
    with opened(settings) as supervisor:

        def stop(done, total, counts):
            if counts[State.READY]:
                supervisor.stop()

        assert supervisor.run_once([tmp_path / "in"], stop) is None
    assert not intake.ledger.study(one.hash).arriving
    assert intake.ledger.study(one.hash).instances == 3
    assert intake.ledger.study(other.hash).arriving
    assert is_uncounted(intake.spool, other.hash)
    intake.ledger.close()


@pytest.fixture
def ending(settings, let, tmp_path):
    """Run a batch that ends by itself: its study is given up as soon as it is there, after something else was done."""
    let(wait)
    audit = AuditLog(settings.job.audit, "node")
    for number in (1, 2):
        audit.append("received", count=number)
    study = write_study(tmp_path / "in")

    def run(supervisor, meddle):
        def give_up(done, total, counts):
            if counts[State.READY]:
                assert eventually(lambda: (settings.job.audit / "head.json").is_file())
                meddle()
                supervisor.ledger.quarantine(study.hash, "enough")

        return supervisor.run_once([tmp_path / "in"], give_up)

    return run


def test_lines_of_before_that_were_changed_while_a_batch_ran_are_told_at_its_end(settings, ending):
    def meddle():
        (file,) = settings.job.audit.glob("*.jsonl")
        file.write_bytes(file.read_bytes().replace(b'"count":1', b'"count":7', 1))

    with opened(settings) as supervisor:
        assert ending(supervisor, meddle) is not None
        assert "line 2: expected the hash of the line before" in supervisor.audit_broken


def test_a_disk_that_fails_when_the_audit_log_is_looked_at_last_changes_nothing_of_what_was_done(
    settings, ending, monkeypatch
):
    def full():
        raise OSError(28, "No space left on device")

    with opened(settings) as supervisor:
        assert ending(supervisor, lambda: monkeypatch.setattr(supervisor._audit, "check", full)) is not None
        assert supervisor.audit_broken is None


def test_an_input_that_is_nowhere_ends_it(settings, let, tmp_path):
    let(wait)
    with opened(settings) as supervisor, pytest.raises(UsageError, match="nowhere"):
        supervisor.run_once([tmp_path / "nowhere"], lambda *_: None)


def test_a_folder_that_is_a_destination_and_not_there_is_told_before_anything_is_begun(settings, tmp_path):
    missing = {"copies": tmp_path / "copies", "more": tmp_path / "more"}
    with pytest.raises(UsageError, match=r"folders\.copies: .* got none; mount or make it\n.*more: "):
        Supervisor(replace(settings, folders=missing))
    wrong = replace(settings, folders={"copies": tmp_path / "copies"})
    with pytest.raises(UsageError, match=f"copies: expected a folder at {tmp_path / 'copies'}, got none"):
        Supervisor(wrong)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "copies").mkdir()
    with opened(wrong) as supervisor:
        assert set(supervisor._destinations) == {"copies"}
