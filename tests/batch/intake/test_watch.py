from __future__ import annotations

import os
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from medkit.batch.identity import hash_uid
from medkit.batch.intake.folder import take_folder
from medkit.batch.intake.lifting import lift_marks
from medkit.batch.intake.memory import Memory
from medkit.batch.intake.quiet import settle
from medkit.batch.intake.watch import WatchedFolder
from medkit.batch.ledger import State
from medkit.batch.spool import SpoolLimits
from tests.batch.intake.door import open_intake, put_back, settle_after, write_study
from tests.batch.ledger.killing import Killed, killed_before


class Watch:
    """A watched folder, and a clock for it and the ledger."""

    def __init__(self, tmp_path, clock, intake, **options):
        self.folder, self.clock, self.intake = tmp_path / "in", clock, intake
        self.folder.mkdir(exist_ok=True)
        self.options, self.path = options, tmp_path / "memory.sqlite"
        self.start()

    def start(self):
        self.memory = Memory(self.path)
        self.watched = WatchedFolder(
            self.folder, self.intake, self.memory, 10, clock=self.clock, **self.options
        )

    def poll(self, seconds=0):
        self.clock.pass_by(seconds)
        return self.watched.poll()

    def rest(self):
        """See all that is there, and look again when it has rested."""
        self.poll()
        return self.poll(10)

    def instances(self, study):
        return len(self.intake.spool.instances(study.hash))

    def missing(self, study):
        return list(self.intake.spool.missing(study.hash).values())


@pytest.fixture
def watch(tmp_path, clock, intake):
    return Watch(tmp_path, clock, intake)


def test_files_are_taken_when_they_rest_once_and_stay(watch):
    study = write_study(watch.folder / "a")
    assert watch.poll().waiting == 3
    assert watch.poll(9.9).taken == 0
    polled = watch.poll(0.1)
    assert (polled.taken, polled.waiting, polled.reachable) == (3, 0, True)
    assert watch.instances(study) == 3
    assert all(path.exists() for path in study.paths)
    arrivals = watch.intake.ledger.arrivals()
    watch.poll(100)
    watch.start()
    watch.rest()
    assert watch.intake.ledger.arrivals() == arrivals, "nothing was brought twice"
    assert settle_after(watch.intake, watch.clock, 60).begun == {study.hash: 1}


def test_a_file_that_grows_waits_until_it_has_its_end(watch):
    study = write_study(watch.folder, slices=1)
    content = study.paths[0].read_bytes()
    for end in (100, 1000, 2000):
        study.paths[0].write_bytes(content[:end])
        polled = watch.poll(9)
        assert (polled.taken, polled.waiting, polled.broken) == (0, 1, [])
    study.paths[0].write_bytes(content)
    assert watch.poll(9).waiting == 1
    assert watch.poll(10).taken == 1
    assert watch.instances(study) == 1


def test_a_file_that_is_old_and_moved_in_rests_by_our_clock(watch, tmp_path):
    study = write_study(tmp_path / "elsewhere", slices=1)
    os.utime(study.paths[0], (1, 1))
    study.paths[0].rename(watch.folder / "moved.dcm")
    assert watch.poll().taken == 0
    assert watch.poll(10).taken == 1


def test_hidden_files_and_names_of_unfinished_copies_are_not_looked_at(watch):
    study = write_study(watch.folder)
    for path, name in zip(study.paths, (".hidden.dcm", "a.dcm.part", "a.TMP"), strict=True):
        path.rename(watch.folder / name)
    (watch.folder / ".snapshot").mkdir()
    assert watch.rest().taken == 0
    (watch.folder / "a.dcm.part").rename(watch.folder / "a.dcm")
    assert watch.rest().taken == 1


def test_a_file_cut_short_marks_its_study_until_it_is_whole(watch):
    study = write_study(watch.folder)
    content = study.paths[2].read_bytes()
    study.paths[2].write_bytes(content[:-40])
    polled = watch.rest()
    assert polled.taken == 2
    assert ["IM0002.dcm" in finding.message for finding in polled.broken] == [True]
    assert watch.missing(study) == ["broken-file"]
    assert watch.rest().broken == [], "it is told once"
    assert settle_after(watch.intake, watch.clock, 5).begun == {study.hash: 1}, "to be refused, for the mark"
    study.paths[2].write_bytes(content)
    assert watch.rest().taken == 1
    assert watch.missing(study) == []
    assert settle(watch.intake, 0).begun == {study.hash: 2}
    assert watch.intake.spool.conflicts(study.hash) == []


@pytest.mark.parametrize("again", [False, True], ids=["same-process", "after-a-start"])
def test_a_file_that_says_not_whose_it_is_marks_the_studies_that_came_beside_it(watch, again):
    study = write_study(watch.folder / "a", 1)
    elsewhere = write_study(watch.folder / "b", 2)
    content = study.paths[2].read_bytes()
    study.paths[2].unlink()
    watch.rest()
    study.paths[2].write_bytes(content[:200])
    if again:
        watch.start()
    polled = watch.rest()
    assert [finding.code for finding in polled.broken] == ["truncated"]
    assert watch.missing(study) == ["broken-file"]
    assert watch.missing(elsewhere) == []
    watch.clock.pass_by(3000)
    later = write_study(watch.folder / "a", 3)
    watch.rest()
    assert watch.missing(later) == [], "one junk file does not stop a folder for ever"
    study.paths[2].write_bytes(content)
    watch.rest()
    assert watch.missing(study) == []
    assert watch.instances(study) == 3


def test_a_mark_that_a_person_lifted_is_not_made_again_at_each_look(watch):
    study = write_study(watch.folder)
    study.paths[2].write_bytes(b"")
    watch.rest()
    settle_after(watch.intake, watch.clock, 5)
    lift_marks(watch.intake, study.hash, "the disk is lost")
    watch.rest()
    watch.start()
    watch.rest()
    assert (watch.missing(study), len(watch.intake.spool.lifted(study.hash))) == ([], 1)
    study.paths[2].unlink()
    watch.rest()
    assert watch.intake.spool.lifted(study.hash) == []


def test_studies_that_were_marked_beside_another_are_made_again_when_it_is_mended(watch):
    one, two = write_study(watch.folder, 1), write_study(watch.folder, 2)
    content = one.paths[2].read_bytes()
    one.paths[2].unlink()
    watch.rest()
    assert settle(watch.intake, 0).begun == {one.hash: 1, two.hash: 1}
    one.paths[2].write_bytes(content[:200])
    watch.rest()
    assert settle(watch.intake, 0).begun == {one.hash: 2, two.hash: 2}, "both may lack a part"
    assert watch.missing(one) == watch.missing(two) == ["broken-file"]
    one.paths[2].write_bytes(content)
    watch.rest()
    assert settle(watch.intake, 0).begun == {one.hash: 3, two.hash: 3}
    assert watch.missing(one) == watch.missing(two) == []
    assert (watch.instances(one), watch.instances(two)) == (3, 3)


def test_another_source_does_not_take_its_marks_back(watch, tmp_path):
    study = write_study(watch.folder, slices=6)
    study.paths[5].write_bytes(study.paths[5].read_bytes()[:-100])
    watch.rest()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "again.dcm").write_bytes(study.paths[0].read_bytes())
    take_folder(tmp_path / "b", watch.intake)
    assert watch.missing(study) == ["broken-file"]


def test_a_broken_file_that_is_taken_away_is_missed_no_more(watch):
    study = write_study(watch.folder)
    study.paths[2].write_bytes(b"")
    watch.rest()
    assert watch.missing(study) == ["broken-file"]
    study.paths[2].unlink()
    watch.poll()
    assert watch.missing(study) == []
    watch.poll(5000)
    assert len(watch.memory.items()) == 2


def test_a_share_that_vanishes_is_no_reason_to_forget(watch, tmp_path):
    study = write_study(watch.folder)
    study.paths[2].write_bytes(b"")
    watch.rest()
    watch.folder.rename(tmp_path / "away")
    assert watch.poll().reachable is False
    watch.folder.mkdir()  # as a mount point is there without its share
    assert watch.poll().reachable is True
    assert watch.missing(study) == ["broken-file"]
    watch.folder.rmdir()
    (tmp_path / "away").rename(watch.folder)
    assert watch.rest().taken == 0


@pytest.mark.parametrize("damaged", [False, True])
def test_a_zip_is_taken_as_a_folder_is(watch, tmp_path, damaged):
    study = write_study(tmp_path / "elsewhere")
    if damaged:
        study.paths[2].write_bytes(study.paths[2].read_bytes()[:200])
    with zipfile.ZipFile(watch.folder / "study.zip", "w") as archive:
        for path in study.paths:
            archive.write(path, path.name)
    polled = watch.rest()
    assert polled.taken == (2 if damaged else 3)
    assert watch.missing(study) == (["broken-file"] if damaged else [])


def test_a_zip_that_is_half_there_is_told_and_taken_when_it_is_whole(watch, tmp_path):
    study = write_study(tmp_path / "elsewhere")
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for path in study.paths:
            archive.write(path, path.name)
    content = (tmp_path / "study.zip").read_bytes()
    (watch.folder / "study.zip").write_bytes(content[:3000])
    assert [finding.code for finding in watch.rest().others] == ["zip-unreadable"]
    assert watch.rest().others == []
    (watch.folder / "study.zip").write_bytes(content)
    assert watch.rest().taken == 3


def test_taken_files_are_removed_on_request_and_no_others(tmp_path, clock, intake):
    watch = Watch(tmp_path, clock, intake, remove=True)
    study = write_study(watch.folder)
    broken = study.paths[2]
    broken.write_bytes(broken.read_bytes()[:-40])
    (watch.folder / "licence.txt").write_text("no image")
    watch.rest()
    assert sorted(path.name for path in watch.folder.iterdir()) == ["IM0002.dcm", "licence.txt"]
    assert watch.instances(study) == 2


def test_what_is_known_of_removed_files_is_written_once_and_forgotten_in_the_end(
    tmp_path, clock, intake, monkeypatch
):
    watch = Watch(tmp_path, clock, intake, remove=True, neighbour_seconds=100)
    write_study(watch.folder)
    (watch.folder / "licence.txt").write_text("no image")
    assert watch.rest().taken == 3
    written = []
    put = watch.memory.put
    monkeypatch.setattr(watch.memory, "put", lambda key, entry: written.append(key) or put(key, entry))
    for _ in range(3):
        watch.poll(5)
    assert len(written) == len(set(written)) == 3
    assert len(watch.memory.items()) == 4
    watch.poll(200)
    assert len(watch.memory.items()) == 1, "the file that is there"


def test_a_zip_of_which_not_all_was_taken_is_not_removed(tmp_path, clock, intake):
    watch = Watch(tmp_path, clock, intake, remove=True)
    one, two = write_study(tmp_path / "a", 1), write_study(tmp_path / "b", 2)
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as inner:
        for path in two.paths:
            inner.write(path, path.name)
    with (
        zipfile.ZipFile(watch.folder / "outer.zip", "w") as outer,
        zipfile.ZipFile(watch.folder / "plain.zip", "w") as plain,
    ):
        for path in one.paths:
            outer.write(path, path.name)
            plain.write(path, path.name)
        outer.write(tmp_path / "inner.zip", "more.zip")
    assert watch.rest().taken == 6
    assert watch.instances(two) == 0
    assert [path.name for path in watch.folder.iterdir()] == ["outer.zip"]


def test_a_file_that_is_being_written_holds_the_study_beside_it(watch):
    study = write_study(watch.folder / "a", slices=6)
    elsewhere = write_study(watch.folder / "b", 2)
    content = study.paths[5].read_bytes()
    for number in range(12):
        study.paths[5].write_bytes(content[: (number + 1) * len(content) // 20])
        watch.poll()
        settle(watch.intake, 60)
        watch.clock.pass_by(10)
    assert watch.intake.ledger.study(study.hash).state is State.RECEIVING
    assert watch.intake.ledger.study(elsewhere.hash).state is State.READY
    study.paths[5].write_bytes(content)
    watch.rest()
    assert settle_after(watch.intake, watch.clock, 60).begun == {study.hash: 1}
    assert watch.intake.ledger.study(study.hash).instances == 6


def test_a_file_beside_which_a_broken_one_comes_after_it_was_removed(tmp_path, clock, intake):
    watch = Watch(tmp_path, clock, intake, remove=True)
    study = write_study(watch.folder)
    content = study.paths[2].read_bytes()
    study.paths[2].unlink()
    watch.rest()
    assert list(watch.folder.iterdir()) == []
    watch.start()
    study.paths[2].write_bytes(content[:200])
    watch.rest()
    assert watch.missing(study) == ["broken-file"]
    study.paths[2].write_bytes(content)
    study.paths[0].write_bytes(content)
    assert watch.rest().taken == 2, "and a name that is used again is a file of its own"
    assert watch.missing(study) == []


def test_a_file_that_changes_while_it_is_taken_is_not_removed(tmp_path, clock, intake, monkeypatch):
    watch = Watch(tmp_path, clock, intake, remove=True)
    study = write_study(watch.folder, slices=1)
    real = intake.take

    def meanwhile(*given):
        taken = real(*given)
        os.utime(study.paths[0], (5, 5))
        return taken

    monkeypatch.setattr(intake, "take", meanwhile)
    assert watch.rest().taken == 1
    assert study.paths[0].exists()


def test_a_file_that_cannot_be_removed_is_told(tmp_path, clock, intake, monkeypatch):
    watch = Watch(tmp_path, clock, intake, remove=True)
    write_study(watch.folder, slices=1)

    def forbidden(self, missing_ok=False):
        raise PermissionError(13, "Permission denied")

    watch.poll()
    with monkeypatch.context() as patched:
        real = Path.unlink
        patched.setattr(
            Path,
            "unlink",
            lambda self, **o: forbidden(self) if self.parent == watch.folder else real(self, **o),
        )
        polled = watch.poll(10)
    assert (polled.taken, polled.kept) == (1, 1)


def test_a_full_disk_makes_files_wait_and_they_are_taken_later(tmp_path, clock):
    free = [100]
    intake = open_intake(
        tmp_path / "job",
        clock,
        limits=SpoolLimits(free_bytes=500),
        usage=lambda _: SimpleNamespace(free=free[0]),
    )
    watch = Watch(tmp_path, clock, intake)
    study = write_study(watch.folder)
    polled = watch.rest()
    assert (polled.taken, polled.no_room) == (0, True)
    free[0] = 1000
    assert watch.poll().taken == 3
    assert watch.missing(study) == []


def test_an_instance_beyond_a_limit_is_told_and_left(tmp_path, clock):
    intake = open_intake(tmp_path / "job", clock, limits=SpoolLimits(free_bytes=0, study_instances=2))
    watch = Watch(tmp_path, clock, intake)
    study = write_study(watch.folder)
    polled = watch.rest()
    assert (polled.taken, polled.left) == (2, 1)
    assert watch.missing(study) == ["too-many"]


def test_names_of_patients_are_not_remembered(watch):
    study = write_study(watch.folder / "Somebody^Some")
    study.paths[0].rename(watch.folder / "Somebody^Some" / "Somebody.dcm")
    watch.rest()
    watch.memory.close()
    stored = b"".join(path.read_bytes() for path in watch.path.parent.glob("memory.sqlite*"))
    assert stored
    assert b"Somebody" not in stored
    assert study.uid.encode() not in stored


def test_killed_before_any_statement_all_is_taken_in_the_end(tmp_path, clock, monkeypatch):
    """Statements of the ledger and of the memory alike; files are removed as soon as they are taken."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # no power is cut here

    def run(folder, fatal):
        study = write_study(folder / "in", slices=2)
        (folder / "in" / "IM0002.dcm").write_bytes(b"")
        kept = folder / "kept"
        with killed_before(monkeypatch, None, kept) as killer:
            intake = open_intake(folder / "job", clock)
            watch = Watch(folder, clock, intake, remove=True)
            begun = killer.statements
            killer.fatal = None if fatal is None else begun + fatal
            killed = False
            try:
                watch.rest()
                settle(intake, 0)
            except Killed:
                killed = True
            intake.ledger.close()
            watch.memory.close()
        assert killed is (fatal is not None)
        if killed and (kept / "ledger.sqlite").exists():
            put_back(kept, folder / "job")
        return study, killer.statements - begun

    study, total = run(tmp_path / "whole", None)
    assert total > 20
    for fatal in range(total):
        folder = tmp_path / f"at{fatal}"
        study, _ = run(folder, fatal)
        intake = open_intake(folder / "job", clock)
        watch = Watch(folder, clock, intake, remove=True)
        watch.rest()
        assert watch.missing(study) == ["broken-file"], f"at {fatal}"
        settle(intake, 0)
        record = intake.ledger.study(study.hash)
        assert (record.state, record.instances, record.arriving) == (State.READY, 2, False), f"at {fatal}"
        assert [path.name for path in watch.folder.iterdir()] == ["IM0002.dcm"]
        held = {instance.instance for instance in intake.spool.instances(study.hash)}
        assert held == {hash_uid(dataset.SOPInstanceUID) for dataset in study.datasets}
        assert intake.ledger.faults() == []
        intake.ledger.close()
        watch.memory.close()
