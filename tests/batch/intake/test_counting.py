"""What a node takes is whole when an archive has counted it, and not before."""

from __future__ import annotations

import errno
import io
import os
from contextlib import closing
from types import SimpleNamespace

import pytest

from medkit.batch.intake.counting import ArchiveCount, forget_counts, is_uncounted
from medkit.batch.intake.dismissing import dismiss
from medkit.batch.intake.folder import take_folder
from medkit.batch.intake.memory import Memory
from medkit.batch.intake.pull import Puller, Step
from medkit.batch.intake.quiet import settle
from medkit.batch.intake.requests import Request
from medkit.batch.ledger import Result, Stage, State
from medkit.batch.marks import NOT_RELEASED
from medkit.batch.spool import OUT_OF_RESOURCES, SpoolLimits
from medkit.dicom.network.archive import ArchiveDown, ArchiveRefused
from medkit.dicom.network.senders import End, Sender
from medkit.dicom.sources import SourceFile
from tests.batch.intake.door import body, open_intake, write_study
from tests.batch.intake.pulling import FakeArchive

QUIET = 60.0


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path / "study", slices=4)


class Desk:
    """A door, an archive that has a study, and who counts there."""

    def __init__(self, intake, clock, study):
        self.intake, self.clock, self.study = intake, clock, study
        self.archive = FakeArchive(study)
        self.count = ArchiveCount("pacs", self.archive, intake, QUIET, clock)

    def answer(self, number):
        dataset, path = self.study.datasets[number], self.study.paths[number]
        return self.count.answer(self.study.uid, dataset.SOPInstanceUID, io.BytesIO(path.read_bytes()))

    def send(self, *numbers):
        for number in numbers:
            assert self.answer(number) == 0

    def wait(self, seconds=QUIET):
        """See what is there, let time pass, count, and settle."""
        settle(self.intake, QUIET)
        self.clock.pass_by(seconds)
        trouble = self.count.count()
        settle(self.intake, QUIET)
        return trouble

    @property
    def record(self):
        return self.intake.ledger.study(self.study.hash)

    @property
    def expected(self):
        return self.intake.spool.expected(self.study.hash)


@pytest.fixture
def desk(intake, clock, study):
    return Desk(intake, clock, study)


@pytest.fixture
def low_desk(tmp_path, clock, study):
    """One whose disk is too full until ``free`` says otherwise."""
    limits, usage = SpoolLimits(free_bytes=10), lambda _: SimpleNamespace(free=found.free)
    intake = open_intake(tmp_path / "job", clock, limits=limits, usage=usage)
    found = Desk(intake, clock, study)
    found.free = 1
    yield found
    intake.ledger.close()


def test_a_study_that_is_all_there_completes_and_says_by_how_many(desk):
    desk.send(0, 1, 2, 3)
    assert desk.wait(QUIET - 1) is None
    assert desk.archive.calls == [], "it is not quiet yet"
    assert desk.wait(1) is None
    assert (desk.record.state, desk.record.arriving) == (State.READY, False)
    assert desk.expected == {desk.study.series: 4}
    assert desk.intake.spool.marks(desk.study.hash) == []


def test_a_part_of_a_study_waits_for_the_rest(desk):
    desk.send(0, 1, 2)
    for _ in range(2):
        desk.wait()
        assert desk.record.arriving
    desk.send(3)
    desk.wait()
    assert (desk.record.state, desk.record.instances, desk.expected) == (
        State.READY,
        4,
        {desk.study.series: 4},
    )


def test_a_part_of_a_study_that_stays_one_completes_as_what_the_archive_has_more_of(desk):
    """Its making fails then, and a person is called."""
    desk.send(0, 1, 2)
    for _ in range(desk.intake.ledger.policy.attempts):
        assert desk.record.arriving
        desk.wait(3600)
    assert (desk.record.state, desk.record.arriving) == (State.READY, False)
    assert desk.expected == {desk.study.series: 4}
    desk.send(3)
    desk.wait()
    assert (desk.record.revision, desk.record.instances) == (2, 4)


def test_an_archive_that_still_receives_is_waited_for(desk):
    whole = FakeArchive.held(desk.study)
    desk.send(0, 1, 2, 3)
    for number in range(4):
        desk.archive.studies[desk.study.uid] = dict(list(whole.items())[:number])
        for _ in range(desk.intake.ledger.policy.attempts - 1):
            desk.wait(3600)
        assert desk.record.arriving
    desk.archive.studies[desk.study.uid] = whole
    desk.wait(3600)
    assert (desk.record.arriving, desk.expected) == (False, {desk.study.series: 4})


def test_a_study_that_the_archive_does_not_have_is_none_of_its_studies(desk):
    desk.archive.studies.clear()
    desk.send(0, 1, 2, 3)
    for _ in range(desk.intake.ledger.policy.attempts):
        desk.wait(3600)
    assert desk.expected == {}, "the reader may say that it was asked, and of no number that it is right"


@pytest.mark.parametrize(
    "error", [ArchiveDown("nobody answers"), ArchiveRefused("not-allowed", "not for you")]
)
def test_an_archive_that_does_not_answer_keeps_the_study_waiting(desk, monkeypatch, error):
    def fail(study_uid):
        raise error

    desk.send(0, 1, 2, 3)
    with monkeypatch.context() as patch:
        patch.setattr(desk.archive, "counts", fail)
        for _ in range(10):
            assert desk.wait(3600) is error
            assert desk.record.arriving
    assert desk.wait(3600) is None
    assert desk.record.state is State.READY


def test_what_was_sent_again_is_counted_again(desk):
    desk.archive.studies[desk.study.uid].popitem()
    desk.send(0, 1, 2, 3)
    for _ in range(desk.intake.ledger.policy.attempts):
        desk.wait(3600)
    assert desk.expected == {desk.study.series: 3}, "the archive has less"
    desk.archive.studies[desk.study.uid] = FakeArchive.held(desk.study)
    desk.send(0)
    desk.wait()
    assert (desk.record.revision, desk.expected) == (2, {desk.study.series: 4})


def test_an_instance_that_comes_while_it_is_counted_is_counted_too(desk, monkeypatch):
    desk.send(0, 1, 2)
    desk.archive.studies[desk.study.uid].popitem()
    counts = desk.archive.counts

    def late(study_uid):
        monkeypatch.undo()
        found = counts(study_uid)
        desk.send(3)
        return found

    monkeypatch.setattr(desk.archive, "counts", late)
    desk.wait()
    desk.archive.studies[desk.study.uid] = FakeArchive.held(desk.study)
    desk.wait()
    assert (desk.record.instances, desk.record.arriving) == (4, False)
    assert desk.expected == {desk.study.series: 4}


def test_who_is_killed_counts_after_the_next_start(desk, tmp_path, clock):
    desk.send(0, 1)
    later = Desk(open_intake(tmp_path / "job", clock, "later"), clock, desk.study)
    later.wait()
    later.wait()
    assert later.record.arriving
    assert is_uncounted(later.intake.spool, desk.study.hash)
    later.send(2, 3)
    later.wait()
    assert later.expected == {desk.study.series: 4}
    later.intake.ledger.close()


def test_where_nobody_counts_any_more_a_study_is_whole_after_its_quiet_time(desk):
    desk.send(0, 1)
    settle(desk.intake, QUIET)
    desk.clock.pass_by(QUIET)
    forget_counts(desk.intake, {desk.count.mark_name})
    settle(desk.intake, QUIET)
    assert desk.record.arriving
    forget_counts(desk.intake, ())
    settle(desk.intake, QUIET)
    assert (desk.record.state, desk.expected) == (State.READY, None)


def test_what_comes_after_a_pull_that_counted_is_counted_too(desk, tmp_path, clock):
    """The pull took the mark away, and not who left it."""
    whole = FakeArchive.held(desk.study)
    desk.archive.studies[desk.study.uid] = dict(list(whole.items())[:2])
    desk.send(0)
    with closing(Memory(tmp_path / "memory.sqlite")) as memory:
        requests = [Request(desk.study.uid)]
        puller = Puller(desk.archive, desk.intake, requests, memory, quiet_seconds=0, monotonic=clock)
        assert puller.step() is Step.PULLED
    assert (desk.record.instances, desk.record.arriving) == (2, False)
    desk.archive.studies[desk.study.uid] = whole
    desk.send(2)
    desk.wait()
    assert desk.record.arriving
    desk.send(3)
    desk.wait()
    assert (desk.record.instances, desk.record.arriving) == (4, False)
    assert desk.expected == {desk.study.series: 4}


def test_that_a_study_is_in_an_archive_as_it_came_says_nothing_of_what_its_sender_still_had(
    desk, tmp_path, clock
):
    """What cut off the one may have cut off the other."""
    sender = Sender("SCANNER", "10.0.0.7", clock())
    desk.archive.studies[desk.study.uid] = dict(list(FakeArchive.held(desk.study).items())[:2])
    desk.intake.associations.came(desk.study.uid, desk.study.datasets[0].SOPInstanceUID, sender)
    desk.send(0)
    desk.intake.associations.ended(sender, End.LOSS)
    with closing(Memory(tmp_path / "memory.sqlite")) as memory:
        puller = Puller(
            desk.archive, desk.intake, [Request(desk.study.uid)], memory, quiet_seconds=0, monotonic=clock
        )
        assert puller.step() is Step.PULLED
    assert (desk.record.instances, desk.record.arriving) == (2, False)
    assert [mark.code for mark in desk.intake.spool.marks(desk.study.hash)] == [NOT_RELEASED]


def test_a_source_that_brings_all_and_has_not_counted_leaves_the_study_to_be_counted(desk, tmp_path):
    """Though somebody counted before: what is held since then may be more."""
    desk.send(0, 1, 2, 3)
    desk.wait()
    desk.send(0)
    assert desk.expected == {desk.study.series: 4}
    taken = take_folder(tmp_path / "study", desk.intake)
    assert (taken.begun, taken.unchanged, desk.record.arriving) == ({}, [], True)
    assert is_uncounted(desk.intake.spool, desk.study.hash)
    desk.wait()
    assert (desk.record.revision, desk.record.arriving) == (1, False)


def test_where_nobody_counts_a_folder_that_is_taken_in_is_whole_by_itself(desk, tmp_path):
    other = write_study(tmp_path / "other", 2)
    other_desk = Desk(desk.intake, desk.clock, other)
    other_desk.count = desk.count
    other_desk.send(0)
    desk.send(0, 1)
    taken = take_folder(tmp_path / "study", desk.intake, nobody_counts=True)
    assert (taken.begun, desk.record.arriving) == ({desk.study.hash: 1}, False)
    assert (desk.record.instances, desk.expected) == (4, None)
    assert is_uncounted(desk.intake.spool, other.hash), "the folder has none of it"


def test_what_comes_after_another_process_dismissed_it_is_counted_too(low_desk, tmp_path, clock, study):
    assert low_desk.answer(0) == OUT_OF_RESOURCES
    clock.pass_by(3600)
    person = open_intake(tmp_path / "job", clock, "person")
    dismiss(person, study.hash, "the sender gave up", clock)
    person.ledger.close()
    low_desk.free = 100
    low_desk.send(0, 1)
    low_desk.wait()
    assert low_desk.record.arriving
    low_desk.send(2, 3)
    low_desk.wait()
    assert (low_desk.record.instances, low_desk.expected) == (4, {study.series: 4})


def test_what_comes_while_another_process_dismisses_it_is_counted_too(low_desk, tmp_path, clock, study):
    """The node found its mark, and the other process took it away after that."""
    assert low_desk.answer(0) == OUT_OF_RESOURCES
    clock.pass_by(3600)
    person = open_intake(tmp_path / "job", clock, "person")
    marks, asked = person.spool.marks, []

    def late(study):
        asked.append(study)
        if len(asked) == 2:  # the ledger has let go of the study
            low_desk.free = 100
            low_desk.send(0, 1)
        return marks(study)

    person.spool.marks = late
    dismiss(person, study.hash, "the sender gave up", clock)
    assert len(asked) == 2
    person.ledger.close()
    assert [mark.code for mark in low_desk.intake.spool.marks(study.hash)] == ["not-counted"]
    low_desk.wait()
    assert low_desk.record.arriving
    low_desk.send(2, 3)
    low_desk.wait()
    assert (low_desk.record.instances, low_desk.expected) == (4, {study.series: 4})


def test_our_own_results_in_the_archive_are_no_images_that_are_missing(desk):
    desk.send(0, 1, 2, 3)
    desk.wait()
    claim = desk.intake.ledger.claim(Stage.MAKE)
    made = [Result("2.25.77", "pacs", "a" * 64, "x.seg.dcm")]
    desk.intake.ledger.made(claim, made, "recipe")
    desk.archive.studies[desk.study.uid]["2.25.77"] = ("2.25.7", b"")
    assert desk.count.answer(desk.study.uid, "2.25.77", io.BytesIO(b"ours")) == 0
    assert desk.intake.spool.marks(desk.study.hash) == []
    desk.send(0)
    desk.wait()
    assert (desk.record.revision, desk.expected) == (1, {desk.study.series: 4})


def test_what_was_sent_again_on_a_low_disk_changes_nothing_of_a_study_that_was_counted(low_desk, study):
    """It is held already: no other revision is begun, and so no result withdrawn."""
    low_desk.free = 100
    low_desk.send(0, 1, 2, 3)
    low_desk.wait()
    low_desk.intake.ledger.skip(low_desk.intake.ledger.claim(Stage.MAKE), "no-rule", "nothing to do")
    low_desk.free = 1
    assert low_desk.answer(0) == OUT_OF_RESOURCES
    assert low_desk.record.arriving
    assert is_uncounted(low_desk.intake.spool, study.hash)
    low_desk.wait()
    assert (low_desk.record.state, low_desk.record.revision) == (State.SKIPPED, 1)
    assert not low_desk.record.arriving
    assert low_desk.intake.spool.marks(study.hash) == []


def test_what_is_no_instance_leaves_no_mark(desk):
    assert desk.count.answer("", "1.2", io.BytesIO(b"")) == 0xC000
    assert desk.intake.ledger.arrivals() == []


def test_what_nobody_can_read_is_left_to_the_reader(desk):
    for number in range(2):
        assert desk.count.answer(desk.study.uid, f"1.2.{number}", body()) == 0
    desk.wait()
    assert (desk.record.state, desk.expected, desk.archive.calls) == (State.READY, None, [])


def test_what_cannot_be_opened_now_is_counted_later(desk, monkeypatch):
    """Too many open files are no reason to take two of four for all."""

    def too_many(self):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    desk.send(0, 1)
    with monkeypatch.context() as patch:
        patch.setattr(SourceFile, "open", too_many)
        for _ in range(10):
            assert desk.wait(3600) is None
            assert desk.record.arriving
    assert desk.archive.calls == []
    desk.send(2, 3)
    desk.wait()
    assert (desk.record.arriving, desk.expected) == (False, {desk.study.series: 4})
