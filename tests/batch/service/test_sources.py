from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from medkit.batch.folder import JobFolder
from medkit.batch.intake.memory import Memory
from medkit.batch.intake.pull import Step
from medkit.batch.intake.watch import WatchedFolder
from medkit.batch.ledger import State
from medkit.batch.notices import Notices
from medkit.batch.service.settings import ArchiveSettings, PullSettings, Settings, WatchSettings
from medkit.batch.service.sources import _Look, _Pull, open_sources
from medkit.errors import UsageError
from tests.batch.intake.conftest import clock, intake
from tests.batch.intake.door import write_study

__all__ = ["clock", "intake"]


@pytest.fixture(autouse=True)
def all_lines(caplog):
    caplog.set_level(logging.INFO, "medkit.batch")


def said(caplog):
    """Level, message and fields of each line, and no more of them."""
    lines = [(one.levelname, one.getMessage(), one.medkit_fields) for one in caplog.records]
    caplog.clear()
    return lines


class Looking:
    """A look at a folder that is really there."""

    def __init__(self, tmp_path, intake, clock) -> None:
        self.folder = tmp_path / "Doe^Jane"
        self.folder.mkdir()
        memory = Memory(tmp_path / "memory.sqlite")
        watched = WatchedFolder(self.folder, intake, memory, 1.0, clock=clock)
        self.look = _Look(
            "folder-1", watched, WatchSettings(self.folder, {}, 7.0), Notices(tmp_path / "notices")
        )
        self.clock = clock

    def once(self):
        assert self.look.once() == 7.0
        self.clock.pass_by(1)


@pytest.fixture
def notices(tmp_path):
    return Notices(tmp_path / "notices")


@pytest.fixture
def looking(tmp_path, intake, clock):
    return Looking(tmp_path, intake, clock)


def test_what_a_folder_gives_is_told_by_numbers_alone(looking, caplog):
    write_study(looking.folder)
    (looking.folder / "cut.dcm").write_bytes(bytes(128) + b"DICM" + b"\x08\x00\x05")
    looking.once()
    assert said(caplog) == [], "nothing rests yet"
    looking.once()
    ((level, message, fields),) = said(caplog)
    assert (level, message) == ("WARNING", "files of the watched folder")
    hint = "'medkit dicom inspect' on the folder that it came from names the file"
    assert fields == {"source": "folder-1", "taken": 3, "broken": 1, "hint": hint}
    looking.once()
    assert said(caplog) == []


def test_a_folder_that_is_gone_is_told_once_and_so_is_its_return(looking, caplog):
    aside = looking.folder.rename(looking.folder.with_name("aside"))
    looking.once()
    looking.once()
    ((level, message, fields),) = said(caplog)
    assert (level, message.startswith("the watched folder cannot be listed")) == ("WARNING", True)
    assert fields == {"source": "folder-1", "folder": looking.folder}, "as the settings name it"
    aside.rename(looking.folder)
    looking.once()
    assert [message for _, message, _ in said(caplog)] == ["the watched folder can be listed again"]


class Steps:
    """What a puller does, one step after another, and what it gave up."""

    down = None

    def __init__(self, *steps, failures=()) -> None:
        self.steps, self.given_up = list(steps), list(failures)

    def step(self):
        return self.steps.pop(0)

    def failures(self):
        return self.given_up.pop(0) if self.given_up else {}


def test_after_work_the_next_step_is_taken_at_once_and_otherwise_later(notices):
    waits = {step: _Pull("archive-1", Steps(step), notices).once() for step in Step}
    later = {step for step, seconds in waits.items() if seconds == 5.0}
    assert later == {Step.IDLE, Step.CLOSED, Step.DOWN, Step.NO_ROOM}
    assert {waits[step] for step in set(Step) - later} == {0.0}


def test_why_nothing_is_pulled_is_told_when_that_changes(notices, caplog):
    steps = Steps(Step.DOWN, Step.DOWN, Step.PULLED, Step.DOWN, Step.CLOSED, Step.IDLE)
    pull = _Pull("archive-1", steps, notices)
    for _ in range(6):
        pull.once()
    lines = said(caplog)
    assert [(level, fields["why"]) for level, _, fields in lines] == [
        ("WARNING", Step.DOWN),
        ("WARNING", Step.DOWN),
        ("INFO", Step.CLOSED),
    ]


def test_what_is_given_up_is_told_by_its_number_and_codes(notices, caplog):
    failures = [{}, {"a": "not-found"}, {"a": "not-found"}, {"a": "not-found", "b": "archive-breaks-off"}]
    pull = _Pull("archive-1", Steps(*[Step.IDLE] * 4, failures=failures), notices)
    for _ in range(4):
        pull.once()
    assert [(fields["count"], fields["codes"]) for _, _, fields in said(caplog)] == [
        (1, "not-found"),
        (2, "archive-breaks-off,not-found"),
    ]


def test_all_sources_are_opened_each_with_a_memory_of_its_own(tmp_path, intake):
    (tmp_path / "list.txt").write_text("1.2.3\n")
    settings = Settings(
        job=JobFolder(tmp_path / "job"),
        rules=(),
        watched=(WatchSettings(tmp_path / "a"), WatchSettings(tmp_path / "b", poll_seconds=9.0)),
        archives={"pacs": ArchiveSettings("dimse", {"host": "h", "port": 104, "ae_title": "PACS"})},
        pulls=(PullSettings("pacs", {"studies": tmp_path / "list.txt"}),),
    )
    chores, memories = open_sources(settings, intake)
    assert [chore.name for chore in chores] == ["folder-1", "folder-2", "archive-1"]
    assert sorted(path.name for path in (tmp_path / "job" / "sources").glob("*.sqlite")) == [
        "archive-1.sqlite",
        "folder-1.sqlite",
        "folder-2.sqlite",
    ]
    for memory in memories:
        memory.close()
    wrong = replace(settings, pulls=(PullSettings("pacs", {"studies": tmp_path / "none.txt"}),))
    with pytest.raises(UsageError, match=r"none\.txt"):
        open_sources(wrong, intake)
    assert intake.ledger.counts()[State.RECEIVING] == 0
