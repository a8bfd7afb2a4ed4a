"""Whatever is changed in a log is found, by all of its lines or by those that are new."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medkit.batch.audit import AuditError, AuditLog, Head, chain
from medkit.batch.audit import log as writing
from medkit.data.writing import write_text
from tests.batch.audit.logs import (
    DAY,
    NO_FAULT,
    STUDY,
    Clock,
    changed,
    entries,
    files,
    without_line,
    write_log,
)

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
    seen, lines = [], log._chain.lines
    with monkeypatch.context() as patch:
        patch.setattr(log._chain, "lines", lambda since: (seen.append(line) or line for line in lines(since)))
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
    for _ in range(2 * chain._LINES_A_TURN):
        log.append("received")
    pauses = []
    monkeypatch.setattr(chain.time, "sleep", pauses.append)
    assert log.check().broken is NO_FAULT
    assert [pause > 0 for pause in pauses] == [True, True]


def test_no_end_is_left_of_a_line_that_is_not_yet_on_disk(log, clock, monkeypatch):
    write_log(log, clock, 2)
    held = []

    def written(path, text):
        held.append(log._lock.is_locked)  # as long as who appends waits for the disk
        write_text(path, text)

    monkeypatch.setattr(writing, "write_text", written)
    log.check()
    assert held == [True]


def test_days_that_were_removed_on_purpose_are_begun_after(log, clock):
    write_log(log, clock)
    kept = Head(3, entries(log)[3]["previous"])
    files(log)[0].unlink()
    assert log.verify(after=kept).broken is NO_FAULT
    assert log.verify(after=kept).head.number == 6
    assert "expected the hash" in log.verify(after=Head(3, "0" * 64)).broken


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


def test_a_last_line_that_was_changed_before_it_was_seen_is_missed_by_the_end_that_was_left(log, clock):
    write_log(log, clock, 2)
    log.check()
    changed(files(log)[0], b'"count":1', b'"count":7')
    later = AuditLog(log.folder, "later", clock)
    later.take_up()
    for _ in range(2):
        assert "line 2: expected another line here" in later.check().broken
