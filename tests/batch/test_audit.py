from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medkit.batch import audit
from medkit.batch.audit import FIELDS, AuditError, AuditLog, Head, as_name
from medkit.data.writing import write_text

DAY = 86_400.0
STUDY = "a" * 64
NO_FAULT = None


class Clock:
    now = 1_700_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def log(tmp_path, clock):
    return AuditLog(tmp_path / "audit", "node", clock)


def files(log):
    return sorted(log.folder.glob("*.jsonl"))


def entries(log):
    return [json.loads(line) for path in files(log) for line in path.read_text().splitlines()]


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


def write_log(log, clock, lines=6):
    for number in range(lines):
        clock.now = Clock.now + number // 3 * DAY
        log.append("received", study=STUDY, count=number)


def changed(path, old, new):
    path.write_bytes(path.read_bytes().replace(old, new, 1))


def without_line(path, number):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:number] + lines[number + 1 :]))


CHANGES = {
    "a value": (
        lambda a, b: changed(a, b'"count":1', b'"count":7'),
        "11-14.jsonl, line 3: expected the hash",
    ),
    "the last of a day": (
        lambda a, b: changed(a, b'"count":2', b'"count":7'),
        "11-15.jsonl, line 1: expected the hash",
    ),
    "a line gone": (lambda a, b: without_line(a, 1), "11-14.jsonl, line 2: expected number 2, got 3"),
    "the first gone": (lambda a, b: without_line(a, 0), "11-14.jsonl, line 1: expected number 1, got 2"),
    "a day gone": (lambda a, b: a.unlink(), "11-15.jsonl, line 1: expected number 1, got 4"),
    "no JSON": (lambda a, b: changed(b, b"{", b"["), "11-15.jsonl, line 1: expected a JSON object"),
    "another thing": (lambda a, b: b.write_text('"x"\n'), "11-15.jsonl, line 1: expected a JSON object"),
    "a number": (lambda a, b: changed(a, b'"number":2', b'"number":9'), "line 2: expected number 2, got 9"),
    "torn": (lambda a, b: b.write_bytes(b.read_bytes()[:-5]), "11-15.jsonl, line 3: expected a whole line"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_first_broken_line_is_named(log, clock, name):
    change, message = CHANGES[name]
    write_log(log, clock)
    change(*files(log))
    found = log.verify()
    assert found.broken is not NO_FAULT
    assert message in found.broken


@given(st.data())
def test_any_changed_byte_is_found_by_the_head_that_was_kept(tmp_path_factory, data):
    clock = Clock()
    log = AuditLog(tmp_path_factory.mktemp("audit"), "node", clock)
    write_log(log, clock)
    kept = log.verify().head
    path = data.draw(st.sampled_from(files(log)))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    assert log.verify(through=[kept]).broken is not NO_FAULT


def test_an_end_that_was_cut_off_is_found_by_the_head_that_was_kept(log, clock):
    write_log(log, clock)
    middle, kept = Head(2, entries(log)[2]["previous"]), log.verify().head
    assert log.verify(through=[middle, kept]).broken is NO_FAULT
    without_line(files(log)[1], 2)
    later = AuditLog(log.folder, "later", clock)
    assert later.verify().broken is NO_FAULT, "the chain alone cannot tell"
    assert "expected at least 6 lines, got 5" in later.verify(through=[middle, kept]).broken
    assert "expected at least 6 lines, got 5" in log.verify().broken, "who wrote the last one can"


def test_an_end_that_was_cut_off_is_found_after_a_check(log, clock):
    write_log(log, clock)
    assert log.check() == log.verify()
    log.append("received", study=STUDY)
    assert log.check().broken is NO_FAULT
    without_line(files(log)[1], 3)
    for _ in range(2):  # nothing is kept of a chain that does not hold
        assert "expected at least 7 lines, got 6" in log.check().broken


def lines_looked_at(log, monkeypatch, look):
    seen, lines = [], log._lines
    with monkeypatch.context() as patch:
        patch.setattr(log, "_lines", lambda since: (seen.append(line) or line for line in lines(since)))
        return look(), [(path.name, number) for path, number, _, _ in seen]


def test_what_a_log_held_at_the_last_look_need_not_be_read_again(log, clock, monkeypatch):
    write_log(log, clock, 3)
    first = files(log)[-1].name
    assert lines_looked_at(log, monkeypatch, log.check_new)[1] == [(first, 1), (first, 2), (first, 3)]
    other = AuditLog(log.folder, "worker", clock)
    other.append("received", study=STUDY)
    clock.now += DAY
    other.append("received", study=STUDY)
    found, looked = lines_looked_at(log, monkeypatch, log.check_new)
    assert looked == [(first, 4), (files(log)[-1].name, 1)]
    assert found == log.verify()
    assert json.loads((log.folder / "head.json").read_text()) == asdict(found.head)
    assert lines_looked_at(log, monkeypatch, log.check_new)[1] == []


def a_line_with_nothing_behind_it(log):
    changed(files(log)[-1], b'"count":2', b'"count":7')


def cut(log):
    without_line(files(log)[-1], 1)


def garbage_for_the_last(log):
    path = files(log)[-1]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:-1], b"x" * (len(lines[-1]) - 1) + b"\n"]))


def garbage_for_all(log):
    files(log)[-1].write_bytes(b"garbage\n")


@pytest.mark.parametrize(
    "meddle", [a_line_with_nothing_behind_it, cut, garbage_for_the_last, garbage_for_all]
)
def test_that_the_last_line_was_changed_is_seen_though_nothing_is_new(log, clock, meddle):
    write_log(log, clock, 3)
    log.check()
    meddle(log)
    found = log.check_new()
    assert found.broken is not NO_FAULT
    assert found == log.verify()


def test_what_a_look_at_all_found_is_not_taken_back_by_one_at_what_is_new(log, clock):
    write_log(log, clock, 3)
    log.check()
    changed(files(log)[-1], b'"count":1', b'"count":7')
    assert log.check().broken is not NO_FAULT
    log.append("received", study=STUDY)
    assert log.check_new().broken is not NO_FAULT
    log.verify(after=log.end())  # a look from elsewhere on is no look at all
    assert log.check_new().broken is not NO_FAULT


def changed_again(log):
    changed(files(log)[-1], b'"count":3', b'"count":9')


def without_the_end(log):
    without_line(files(log)[-1], 4)


def with_another_end_kept(log):
    (log.folder / "head.json").write_text('{"number": 1, "sha256": "' + "b" * 64 + '"}')


def without_what_was_looked_at(log):
    without_line(files(log)[-1], 1)


@pytest.mark.parametrize(
    "meddle", [changed_again, without_the_end, with_another_end_kept, without_what_was_looked_at]
)
def test_where_what_is_new_does_not_follow_all_is_looked_at(log, clock, meddle):
    write_log(log, clock, 3)
    log.check()
    before = (log.folder / "head.json").read_bytes()
    log.append("received", study=STUDY, count=3)
    log.append("received", study=STUDY, count=4)
    meddle(log)
    kept = (log.folder / "head.json").read_bytes()
    found = log.check_new()
    assert found.broken is not NO_FAULT
    assert found == log.verify()
    assert (log.folder / "head.json").read_bytes() == kept
    assert kept == before or meddle is with_another_end_kept


def test_a_torn_line_is_no_fault_in_a_check_and_one_of_no_log_is(log, clock):
    write_log(log, clock, 2)
    with files(log)[0].open("ab") as file:
        file.write(b'{"number":3')
    assert log.check().broken is NO_FAULT
    assert [entry["event"] for entry in entries(log)] == ["received", "received", "recovered"]
    with files(log)[-1].open("ab") as file:
        file.write(b"something else\n")
    assert "expected a JSON object" in log.check().broken


ANYTHING = [
    b"", b"xx", b"\xff\xfe", b"[1]", b"[" * 100_000, b"7", b"{}",
    b'{"number":"7","sha256":"a","previous":"a"}', b'{"number":[],"sha256":"a","previous":"a"}',
    b'{"number":Infinity,"sha256":"a","previous":"a"}', b'{"number":7,"sha256":7,"previous":7}',
]  # fmt: skip


@pytest.mark.parametrize("content", ANYTHING, ids=range(len(ANYTHING)))
def test_whatever_stands_in_place_of_the_end_that_a_check_left_is_told(log, clock, content):
    write_log(log, clock, 2)
    (log.folder / "head.json").write_bytes(content)
    for _ in range(2):
        assert log.check().broken == "head.json: expected the end that a check left, got something else"
    assert log.append("received").number == 3
    (log.folder / "head.json").unlink()
    assert log.check().broken is NO_FAULT


@pytest.mark.parametrize("content", ANYTHING[1:], ids=range(len(ANYTHING) - 1))
def test_whatever_stands_in_place_of_a_line_is_told(log, clock, content):
    write_log(log, clock, 2)
    with files(log)[-1].open("ab") as file:
        file.write(content + b"\n")
    assert "line 3: expected a JSON object" in log.check().broken
    with pytest.raises(AuditError, match="move its folder away"):
        log.append("received")


def test_other_threads_have_their_turn_while_a_log_is_looked_at(log, monkeypatch):
    for _ in range(2 * audit._LINES_A_TURN):
        log.append("received")
    pauses = []
    monkeypatch.setattr(audit.time, "sleep", pauses.append)
    assert log.check().broken is NO_FAULT
    assert [pause > 0 for pause in pauses] == [True, True]


def test_no_end_is_left_of_a_line_that_is_not_yet_on_disk(log, clock, monkeypatch):
    write_log(log, clock, 2)
    held = []

    def written(path, text):
        held.append(log._lock.is_locked)  # as long as who appends waits for the disk
        write_text(path, text)

    monkeypatch.setattr(audit, "write_text", written)
    log.check()
    assert held == [True]


def test_a_log_is_taken_up_without_its_torn_line(log, clock):
    assert log.take_up() == Head()
    write_log(log, clock, 2)
    with files(log)[0].open("ab") as file:
        file.write(b'{"number":3')
    assert log.take_up().number == 3
    assert [entry["event"] for entry in entries(log)] == ["received", "received", "recovered"]
    assert log.verify().broken is NO_FAULT


def test_days_that_were_removed_on_purpose_are_begun_after(log, clock):
    write_log(log, clock)
    kept = Head(3, entries(log)[3]["previous"])
    files(log)[0].unlink()
    assert log.verify(after=kept).broken is NO_FAULT
    assert log.verify(after=kept).head.number == 6
    assert "expected the hash" in log.verify(after=Head(3, "0" * 64)).broken


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
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


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
        patch.setattr(audit.os, "open", refused)
        with pytest.raises(PermissionError):
            log.take_up()
    assert log.append("started").number == 1


def test_after_a_line_that_could_not_be_written_it_is_proven_by_one(log, monkeypatch):
    def full(descriptor, content):
        os.write(descriptor, content[:7])
        raise OSError(28, "No space left on device")

    log.append("started")
    with monkeypatch.context() as patch:
        patch.setattr(audit, "_write_all", full)
        for look in (lambda: log.append("received"), log.take_up):
            with pytest.raises(OSError, match="No space"):
                look()
    log.append("stopped")
    assert [one["event"] for one in entries(log)] == ["started", "recovered", "stopped"]
    with monkeypatch.context() as patch:
        patch.setattr(audit, "_write_all", lambda descriptor, content: full(descriptor, b""))
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


def test_lines_that_were_put_back_are_missed_no_more(log, clock):
    write_log(log, clock, 3)
    (file,) = files(log)
    whole = file.read_bytes()
    without_line(file, 2)
    log.take_up()
    assert (log.shorter, log.check().broken is NO_FAULT) == (True, False)
    file.write_bytes(whole)
    assert log.check().broken is NO_FAULT
    assert not log.shorter


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


def test_a_last_line_that_was_changed_before_it_was_seen_is_missed_by_the_end_that_was_left(log, clock):
    write_log(log, clock, 2)
    log.check()
    changed(files(log)[0], b'"count":1', b'"count":7')
    later = AuditLog(log.folder, "later", clock)
    later.take_up()
    for _ in range(2):
        assert "line 2: expected another line here" in later.check().broken
