from __future__ import annotations

from contextlib import nullcontext

import pytest

from medkit.batch.delivery.destinations import ArchiveDestination
from medkit.batch.delivery.noted import NotedDestination
from medkit.batch.notices import Kind, Notices
from medkit.dicom.network.archive import ArchiveDown, ArchiveRefused
from tests.batch.delivery.outlets import FakeArchive, write_note
from tests.batch.delivery.test_destinations import made_result
from tests.batch.ledger.stories import Clock


@pytest.fixture
def notices(tmp_path):
    return Notices(tmp_path / "notices")


@pytest.fixture
def archive():
    return FakeArchive()


@pytest.fixture
def noted(archive, notices):
    return NotedDestination(ArchiveDestination(archive, write_note), notices)


PARTS = {"send": "pacs-sending", "read_back": "pacs"}


def call(noted, name, made):
    return getattr(noted, name)([made] if name == "send" else made)


@pytest.mark.parametrize("name", PARTS)
def test_a_destination_that_is_down_is_told_until_a_call_goes_well(noted, archive, notices, tmp_path, name):
    made = made_result(tmp_path)
    archive.faults = ["down"]
    with pytest.raises(ArchiveDown):
        call(noted, name, made)
    (told,) = notices.all()
    assert (told.kind, told.name, told.code) == (Kind.DESTINATION, PARTS[name], "archive-down")
    assert told.message == "nobody answers"
    assert told.passing
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
    assert [(one.code, one.passing) for one in notices.all()] == ([] if code is None else [(code, False)])


def test_one_that_can_be_read_and_takes_nothing_is_told_since_it_began(archive, tmp_path):
    clock = Clock(1_700_000_000.0)
    notices = Notices(tmp_path / "notices", clock)
    noted = NotedDestination(ArchiveDestination(archive, write_note), notices)
    made = made_result(tmp_path)
    for _ in range(3):
        archive.faults = ["", "down"]
        assert noted.read_back(made) is None
        with pytest.raises(ArchiveDown):
            noted.send([made])
        clock.pass_by(3600)
    (told,) = notices.all()
    assert (told.code, told.since) == ("archive-down", 1_700_000_000.0)


def test_what_arrived_though_its_answer_did_not_ends_the_notice(noted, archive, notices, tmp_path):
    made = made_result(tmp_path)
    archive.faults = ["down-after"]
    with pytest.raises(ArchiveDown):
        noted.send([made])
    assert len(notices.all()) == 1
    assert noted.read_back(made) is not None
    assert notices.all() == []


def test_a_refusal_of_one_object_is_an_answer(noted, archive, notices, tmp_path):
    made = made_result(tmp_path)
    archive.faults = ["down", "refuses"]
    for error in (ArchiveDown, ArchiveRefused):
        with pytest.raises(error):
            noted.read_back(made)
    assert notices.all() == []


@pytest.mark.parametrize("fault", ["down", ""])
def test_what_is_not_withdrawn_is_told_by_who_withdraws_all_that_is_due(
    noted, archive, notices, tmp_path, fault
):
    made = made_result(tmp_path)
    noted.send([made])
    notices.put(Kind.DESTINATION, "pacs", "archive-down", "nobody answers")
    notices.put(Kind.DESTINATION, "pacs", "archive-down", "nobody answers", task="sending")
    before = notices.all()
    archive.faults = [fault]
    with pytest.raises(ArchiveDown) if fault else nullcontext():
        noted.withdraw(made)
    assert notices.all() == before
