from __future__ import annotations

import stat

import pytest

from medkit.batch.notices import Kind, Notice, Notices
from tests.batch.ledger.stories import Clock


@pytest.fixture
def clock():
    return Clock(1_700_000_000.0)


@pytest.fixture
def notices(tmp_path, clock):
    return Notices(tmp_path / "notices", clock)


def test_what_is_wrong_is_told_until_it_is_well(notices, tmp_path):
    assert notices.all() == []
    notices.put(Kind.SOURCE, "archive-1", "tls-failed", "expired")
    notices.put(Kind.DESTINATION, "pacs", "archive-down", "nobody")
    assert [(one.kind, one.part) for one in Notices(tmp_path / "notices").all()] == [
        (Kind.DESTINATION, "pacs"),
        (Kind.SOURCE, "archive-1"),
    ]
    assert stat.S_IMODE((tmp_path / "notices").stat().st_mode) == 0o700
    notices.clear(Kind.SOURCE, "archive-1")
    notices.clear(Kind.SOURCE, "archive-1")
    assert [one.part for one in notices.all()] == ["pacs"]
    notices.clear_all()
    assert notices.all() == []


def test_it_began_when_it_was_said_first(notices, clock):
    begun = clock.now
    notices.put(Kind.SOURCE, "a", "archive-down", "nobody")
    clock.pass_by(60)
    notices.put(Kind.SOURCE, "a", "archive-down", "it broke off")
    assert notices.all() == [Notice(Kind.SOURCE, "a", "archive-down", "it broke off", begun)]
    notices.put(Kind.SOURCE, "a", "tls-failed", "expired")
    assert notices.all() == [Notice(Kind.SOURCE, "a", "tls-failed", "expired", begun + 60)]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"kind": "moon"}'])
def test_a_damaged_file_says_nothing_and_is_written_anew(notices, tmp_path, content):
    notices.put(Kind.SOURCE, "a", "archive-down", "nobody")
    (path,) = (tmp_path / "notices").iterdir()
    path.write_text(content)
    assert notices.all() == []
    notices.put(Kind.SOURCE, "a", "archive-down", "nobody")
    assert len(notices.all()) == 1


def test_a_disk_that_takes_nothing_stops_nobody(tmp_path, clock):
    (tmp_path / "file").touch()
    notices = Notices(tmp_path / "file" / "below", clock)
    notices.put(Kind.SOURCE, "a", "archive-down", "nobody")
    notices.clear(Kind.SOURCE, "a")
    assert notices.all() == []
