"""Lines are on disk before they are told, name nobody, and are taken up after whatever tore the last one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from medkit.batch.audit import FIELDS, AuditError, AuditLog, Head, as_name
from medkit.batch.audit import log as writing
from tests.batch.audit.logs import (
    DAY,
    NO_FAULT,
    STUDY,
    Clock,
    entries,
    files,
    write_log,
)


def test_each_line_says_what_happened_and_holds_the_one_before(log):
    assert log.verify().head == Head()
    heads = [log.append("received", study=STUDY, count=number) for number in (1, 2, 3)]
    first, second, _ = entries(log)
    assert first == {
        "number": 1,
        "time": "2023-11-14T22:13:20.000+00:00",
        "actor": "node",
        "event": "received",
        "study": STUDY,
        "count": 1,
        "previous": "0" * 64,
    }
    assert second["previous"] == heads[0].sha256
    assert [head.number for head in heads] == [1, 2, 3]
    assert log.verify().head == heads[-1]
    assert log.verify().broken is NO_FAULT


def test_the_hash_is_that_of_the_line_for_any_tool(log, tmp_path):
    head = log.append("started", version="0.1.0")
    line = files(log)[0].read_bytes().removesuffix(b"\n")
    (tmp_path / "line").write_bytes(line)
    told = subprocess.run(["sha256sum", tmp_path / "line"], capture_output=True, text=True, check=True).stdout
    assert told.split()[0] == head.sha256


def test_a_day_has_a_file_and_the_chain_goes_on(log, clock):
    for days in (0, 0, 1, 3):
        clock.now = Clock.now + days * DAY
        log.append("received", study=STUDY)
    assert [path.name for path in files(log)] == [
        "audit-2023-11-14.jsonl",
        "audit-2023-11-15.jsonl",
        "audit-2023-11-17.jsonl",
    ]
    clock.now = Clock.now
    log.append("received", study=STUDY)
    assert len(files(log)) == 3, "a clock that was put back opens no earlier file"
    assert log.verify().head.number == 5
    assert log.verify().broken is NO_FAULT


def test_a_line_is_on_disk_before_it_is_told(log, clock, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: (synced.append(os.fstat(descriptor)), real(descriptor))
    )
    log.append("started")
    (file,) = files(log)
    assert [state.st_ino for state in synced] == [log.folder.stat().st_ino, file.stat().st_ino], (
        "and its new name"
    )
    assert synced[1].st_size == file.stat().st_size > 0
    log.append("stopped")
    assert [state.st_ino for state in synced[2:]] == [file.stat().st_ino]


def test_a_log_is_taken_up_without_its_torn_line(log, clock):
    assert log.take_up() == Head()
    write_log(log, clock, 2)
    with files(log)[0].open("ab") as file:
        file.write(b'{"number":3')
    assert log.take_up().number == 3
    assert [entry["event"] for entry in entries(log)] == ["received", "received", "recovered"]
    assert log.verify().broken is NO_FAULT


@pytest.mark.parametrize("cut", range(1, 220, 23))
@pytest.mark.parametrize("fresh_day", [False, True])
def test_a_torn_last_line_is_taken_out_and_told(log, clock, cut, fresh_day):
    write_log(log, clock, 2)
    clock.now += DAY * fresh_day
    before = b"".join(path.read_bytes() for path in files(log))
    log.append("delivered", study=STUDY, uid="2.25.1")
    last = files(log)[-1]
    size = last.stat().st_size - (0 if fresh_day else len(before))
    with last.open("r+b") as file:
        file.truncate(last.stat().st_size - size + min(cut, size - 1))
    log = AuditLog(log.folder, "after-the-crash", clock)
    log.append("started")
    assert log.verify().broken is NO_FAULT
    told, started = entries(log)[-2:]
    assert (told["event"], told["torn_bytes"], told["number"]) == ("recovered", min(cut, size - 1), 3)
    assert started["event"] == "started"
    assert b"".join(path.read_bytes() for path in files(log)).startswith(before)


def test_a_file_that_was_made_and_not_written_is_gone_over(log, clock):
    write_log(log, clock, 2)
    clock.now += DAY
    (log.folder / "audit-2023-11-15.jsonl").touch()
    assert log.append("started").number == 3
    assert log.verify().broken is NO_FAULT


def test_a_line_longer_than_what_is_read_at_once_is_found(log, clock):
    write_log(log, clock, 1)
    with files(log)[0].open("ab") as file:
        file.write(b"x" * 200_000)
    log.append("started")
    assert entries(log)[-2]["torn_bytes"] == 200_000
    assert log.verify().broken is NO_FAULT


def test_a_log_that_ends_in_something_else_is_not_gone_on_with(log, clock):
    write_log(log, clock, 1)
    files(log)[0].write_text("something else\n")
    with pytest.raises(AuditError, match=r"11-14\.jsonl: expected a line of an audit log at its end"):
        log.append("started")
    assert files(log)[0].read_text() == "something else\n"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"patient_name": "Doe"}, "expected a key of the audit log, got 'patient_name'"),
        ({"reason": "DOE^JOHN"}, "expected a key of the audit log, got 'reason'"),
        ({"study": "1.2.840.1"}, "expected 'study' to look like"),
        ({"code": "DOE^JOHN"}, "expected 'code' to look like"),
        ({"code": "ok\n{}"}, "expected 'code' to look like"),
        ({"uid": "1.2.840.113619.1"}, "expected 'uid' to look like"),
        ({"bundle": "Doe John"}, "expected 'bundle' to look like"),
        ({"count": "three"}, "expected 'count' to look like"),
        ({"count": None}, "expected 'count' to look like"),
        ({"torn_bytes": 3}, "expected a key of the audit log"),
        ({"previous": "0" * 64}, "expected a key of the audit log"),
    ],
)
def test_what_might_name_a_patient_is_not_written(log, fields, message):
    with pytest.raises(AuditError, match=re.escape(message)) as caught:
        log.append("received", **fields)
    assert not re.search("doe|1.2.840", str(caught.value), re.IGNORECASE), "nor told"
    assert files(log) == []


def test_events_and_actors_are_words(log, tmp_path):
    with pytest.raises(AuditError, match="expected an event in kebab case"):
        log.append("Patient John Doe")
    with pytest.raises(AuditError, match="as actor"):
        AuditLog(tmp_path, "John Doe")


def test_every_field_can_be_written(log):
    given_ = dict.fromkeys(("study", "instance", "digest", "recipe"), STUDY)
    given_ |= {"revision": 1, "attempt": 2, "count": 3, "bytes": 4, "seconds": 0.25, "uid": "2.25.7"}
    given_ |= {
        "code": "low-disk",
        "before": "ready",
        "after": "running",
        "ae_title": "MEDKIT_1",
        "address": "10.0.0.7",
        "version": "0.1.0",
    }
    given_ |= {"destination": "pacs", "rule": "t1", "bundle": "hippocampus_segmentation_unet"}
    assert given_.keys() == FIELDS.keys()
    log.append("delivered", **given_)
    assert given_.items() <= entries(log)[0].items()
    assert log.verify().broken is NO_FAULT


WRITER = """
import sys
from pathlib import Path
from medkit.batch.audit import AuditLog
log = AuditLog(Path(sys.argv[1]), sys.argv[2])
for number in range(int(sys.argv[3])):
    print(log.append("received", count=number).number, flush=True)
"""


def writer(folder, actor, lines):
    command = [sys.executable, "-c", WRITER, str(folder), actor, str(lines)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])


def test_several_processes_write_one_chain(log):
    running = [writer(log.folder, f"worker{number}", 20) for number in range(3)]
    told = [int(number) for process in running for number in process.communicate()[0].split()]
    assert sorted(told) == list(range(1, 61))
    assert log.verify().head.number == 60
    assert log.verify().broken is NO_FAULT


def test_killed_at_any_moment_what_was_told_is_there(log):
    for wanted in (4, 15):
        with writer(log.folder, "worker", 100_000) as process:
            for _ in range(wanted):
                last = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            last = max([last, *map(int, process.stdout.read().split())])
        assert log.append("started").number > last
        assert log.verify().broken is NO_FAULT


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("glioma_unet", "glioma_unet"),
        ("runs/glioma/first/all", "runs-glioma-first-all"),
        ("0.1.0+cu12 (of Monday)", "0.1.0-cu12--of-Monday-"),
        ("-" * 100, "unnamed"),
        ("n" * 100, "n" * 64),
    ],
)
def test_any_name_becomes_one_that_the_log_takes(log, text, name):
    assert as_name(text) == name
    log.append("study-made", bundle=as_name(text), version=as_name(text))


def test_that_a_line_is_taken_is_proven_without_one(log, monkeypatch):
    write = os.open
    assert log.take_up() == Head()
    assert entries(log) == []

    def refused(path, flags, *mode):
        if flags & os.O_APPEND:
            raise PermissionError(1, "Operation not permitted", str(path))
        return write(path, flags, *mode)

    with monkeypatch.context() as patch:
        patch.setattr(writing.os, "open", refused)
        with pytest.raises(PermissionError):
            log.take_up()
    assert log.append("started").number == 1


def test_after_a_line_that_could_not_be_written_it_is_proven_by_one(log, monkeypatch):
    def full(descriptor, content):
        os.write(descriptor, content[:7])
        raise OSError(28, "No space left on device")

    log.append("started")
    with monkeypatch.context() as patch:
        patch.setattr(writing, "_write_all", full)
        for look in (lambda: log.append("received"), log.take_up):
            with pytest.raises(OSError, match="No space"):
                look()
    log.append("stopped")
    assert [one["event"] for one in entries(log)] == ["started", "recovered", "stopped"]
    with monkeypatch.context() as patch:
        patch.setattr(writing, "_write_all", lambda descriptor, content: full(descriptor, b""))
        with pytest.raises(OSError, match="No space"):
            log.append("received")
    assert log.take_up().number == log.take_up().number == 4
    assert entries(log)[-1]["event"] == "taken-up"
    assert log.verify().broken is NO_FAULT


def test_a_folder_that_is_gone_is_made_for_its_owner_alone_and_missed(log):
    log.append("started")
    log.append("received")
    assert not log.shorter
    shutil.rmtree(log.folder)
    assert log.append("received").number == 1
    assert log.folder.stat().st_mode & 0o777 == 0o700
    assert log.shorter
    assert "expected at least 2 lines, got 1; the end is gone" in log.check().broken
    for _ in range(3):
        log.append("received")
    assert "line 2: expected another line here" in log.check().broken, "also when it is as long again"


def test_to_ask_for_the_end_changes_nothing(log):
    assert log.end() == Head()
    head = log.append("started")
    with files(log)[0].open("ab") as file:
        file.write(b"torn")
    before = files(log)[0].read_bytes()
    assert log.end() == head
    assert files(log)[0].read_bytes() == before
    with files(log)[0].open("ab") as file:
        file.write(b"\n")
    with pytest.raises(AuditError, match="move its folder away"):
        log.end()
