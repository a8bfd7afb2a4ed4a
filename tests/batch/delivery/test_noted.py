from __future__ import annotations

import pytest

from medkit.batch.delivery.destinations import ArchiveDestination
from medkit.batch.delivery.noted import NotedDestination
from medkit.batch.notices import Kind, Notices
from medkit.dicom.network.archive import ArchiveDown, ArchiveRefused
from tests.batch.delivery.outlets import FakeArchive, write_note
from tests.batch.delivery.test_destinations import made_result


@pytest.fixture
def notices(tmp_path):
    return Notices(tmp_path / "notices")


@pytest.fixture
def archive():
    return FakeArchive()


@pytest.fixture
def noted(archive, notices):
    return NotedDestination(ArchiveDestination(archive, write_note), notices)


CALLS = ["send", "read_back", "withdraw"]


def call(noted, name, made):
    return getattr(noted, name)([made] if name == "send" else made)


@pytest.mark.parametrize("name", CALLS)
def test_a_destination_that_is_down_is_told_until_a_call_goes_well(noted, archive, notices, tmp_path, name):
    made = made_result(tmp_path)
    archive.faults = ["down"]
    with pytest.raises(ArchiveDown):
        call(noted, name, made)
    (told,) = notices.all()
    assert (told.kind, told.part, told.code) == (Kind.DESTINATION, noted.name, "archive-down")
    assert told.message == "nobody answers"
    assert call(noted, name, made) == call(ArchiveDestination(archive, write_note), name, made)
    assert notices.all() == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ArchiveDown("expired", "tls-failed"), "tls-failed"),
        (ArchiveRefused("not-allowed", "status 401"), "not-allowed"),
        (ArchiveRefused("find-failed", "status 0xC001"), None),
    ],
)
def test_only_what_keeps_all_out_is_told(noted, archive, notices, tmp_path, monkeypatch, error, code):
    def fail(*_):
        raise error

    monkeypatch.setattr(archive, "send", fail)
    with pytest.raises(type(error)):
        noted.send([made_result(tmp_path)])
    assert [one.code for one in notices.all()] == ([] if code is None else [code])
