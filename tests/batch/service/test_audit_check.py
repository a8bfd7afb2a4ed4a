"""An audit log that was changed is told by its first broken line, in the log and by a notice, until it holds again."""

from __future__ import annotations

import json
import logging
import shutil

import pytest

from medkit.batch.audit import AuditError, AuditLog
from medkit.batch.notices import Kind, Notices
from medkit.batch.service.audit_check import AuditCheck

HOUR = 3600.0


@pytest.fixture
def audit(tmp_path):
    log = AuditLog(tmp_path / "audit", "node")
    for number in range(1, 4):
        log.append("received", count=number)
    return log


def test_one_that_holds_is_not_told_and_one_that_was_changed_is(tmp_path, audit, caplog):
    notices = Notices(tmp_path / "notices")
    check = AuditCheck(audit, notices)
    assert check.once() == HOUR
    assert notices.all() == []
    (file,) = audit.folder.glob("*.jsonl")
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b'"count":2', b'"count":7'))
    with caplog.at_level(logging.ERROR):
        check.once()
    (notice,) = notices.all()
    assert (notice.kind, notice.name, notice.passing) == (Kind.AUDIT, "audit", False)
    assert f"{file.name}, line 3: expected the hash of the line before" in notice.message
    assert f"the audit log was changed: {file.name}, line 3" in caplog.text
    file.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    check.once()
    assert "expected at least 3 lines, got 2" in notices.all()[0].message
    file.write_bytes(whole)
    check.once()
    assert notices.all() == []


def test_it_is_told_whether_studies_go_on(tmp_path, audit):
    notices = Notices(tmp_path / "notices")
    (file,) = audit.folder.glob("*.jsonl")
    file.write_bytes(file.read_bytes().replace(b'"count":2', b'"count":7'))
    AuditCheck(audit, notices).once()
    assert "; studies go on. " in notices.all()[0].message
    audit.append("received", count=4)
    with file.open("ab") as end:
        end.write(b"something else\n")
    AuditCheck(audit, notices).once()
    message = notices.all()[0].message
    assert "no line can follow, so that studies are neither taken any more nor noted as delivered" in message
    assert "studies go on" not in message
    with pytest.raises(AuditError):
        audit.append("received", count=5)


def test_a_line_that_is_just_being_written_is_no_fault(tmp_path, audit, monkeypatch):
    notices = Notices(tmp_path / "notices")
    (file,) = audit.folder.glob("*.jsonl")
    whole = file.read_bytes()
    verify, seen = audit._verify, iter((whole[:-5], whole))

    def verify_what_is_there(*given):
        file.write_bytes(next(seen))
        return verify(*given)

    monkeypatch.setattr(audit, "_verify", verify_what_is_there)
    check = AuditCheck(audit, notices)
    assert check.once() < HOUR
    assert notices.all() == []
    monkeypatch.undo()
    assert check.once() == HOUR


def test_one_that_takes_no_line_is_told_once_with_cause_and_advice_until_it_does(tmp_path, audit, caplog):
    notices = Notices(tmp_path / "notices")
    check = AuditCheck(audit, notices)
    (file,) = audit.folder.glob("*.jsonl")
    whole = file.read_bytes()
    check.watch()
    assert (notices.all(), check.stopped) == ([], None)
    file.write_bytes(whole + b"garbage\n")
    for _ in range(3):
        assert check.watch() < HOUR
    (notice,) = notices.all()
    assert (notice.kind, notice.code, notice.passing) == (Kind.AUDIT_LINES, "audit-stopped", False)
    for said in (
        str(file),
        "expected a line of an audit log at its end",
        "move its folder away, and keep it",
    ):
        assert said in notice.message
        assert said in caplog.text
    assert len(caplog.records) == 1
    assert check.stopped == notice.message
    file.write_bytes(whole)
    check.watch()
    assert (notices.all(), check.stopped) == ([], None)


def test_what_the_disk_refuses_is_told_with_the_file(tmp_path, audit, monkeypatch):
    notices = Notices(tmp_path / "notices")

    def refused(*given):
        raise PermissionError(1, "Operation not permitted", "audit-2023-11-14.jsonl")

    monkeypatch.setattr(audit, "take_up", refused)
    AuditCheck(audit, notices).watch()
    assert "audit-2023-11-14.jsonl: Operation not permitted; look at the disk" in notices.all()[0].message


def test_lines_that_are_gone_while_it_works_are_told_at_once(tmp_path, audit):
    notices = Notices(tmp_path / "notices")
    check = AuditCheck(audit, notices)
    shutil.rmtree(audit.folder)
    check.watch()
    (notice,) = notices.all()
    assert (notice.kind, notice.code) == (Kind.AUDIT, "audit-broken")
    assert "expected at least 3 lines, got 0; the end is gone; studies go on" in notice.message
    assert audit.folder.stat().st_mode & 0o777 == 0o700


def test_one_that_does_not_hold_is_logged_once_with_the_advice_and_looked_at_soon_again(
    tmp_path, audit, caplog
):
    check = AuditCheck(audit, Notices(tmp_path / "notices"))
    (file,) = audit.folder.glob("*.jsonl")
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b'"count":2', b'"count":7'))
    for _ in range(3):
        assert check.once() < HOUR
    (record,) = caplog.records
    assert record.medkit_fields["code"] == "audit-broken"
    assert "find out who changed it; a new chain begins when" in record.getMessage()
    assert check.broken in record.getMessage()
    file.write_bytes(whole)
    assert check.once() == HOUR
    assert check.broken is None


def test_at_the_end_only_what_came_since_the_last_look_is_read_and_its_end_is_left(
    tmp_path, audit, monkeypatch
):
    notices = Notices(tmp_path / "notices")
    check = AuditCheck(audit, notices)
    check.once()
    head = audit.append("received", count=4)
    read, lines = [], audit._chain.lines
    monkeypatch.setattr(
        audit._chain, "lines", lambda since: (read.append(line) or line for line in lines(since))
    )
    check.finish()
    assert [number for _, number, _, _ in read] == [4]
    assert json.loads((audit.folder / "head.json").read_text())["sha256"] == head.sha256
    assert notices.all() == []
    monkeypatch.undo()
    audit.append("received", count=5)
    audit.append("received", count=6)
    (file,) = audit.folder.glob("*.jsonl")
    file.write_bytes(file.read_bytes().replace(b'"count":5', b'"count":7'))
    check.finish()
    assert notices.all()[0].code == "audit-broken"
    assert check.broken == notices.all()[0].message
