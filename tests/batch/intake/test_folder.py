from __future__ import annotations

import os
import zipfile
from types import SimpleNamespace

import pytest

from medkit.batch.identity import hash_uid
from medkit.batch.intake import folder as folder_module
from medkit.batch.intake.files import take_file
from medkit.batch.intake.folder import take_folder
from medkit.batch.intake.quiet import settle
from medkit.batch.ledger import Result, Stage, State
from medkit.batch.spool import SpoolLimits
from medkit.dicom import read
from medkit.errors import UsageError
from tests.batch.intake.door import open_intake, put_back, write_study
from tests.batch.ledger.killing import Killed, killed_before
from tests.dicom_series.stacks import save


def zipped(folder, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


@pytest.mark.parametrize("as_zip", [False, True])
def test_every_study_of_a_source_is_complete_at_once_and_can_be_read(intake, tmp_path, as_zip):
    source = tmp_path / "in"
    one, two = write_study(source / "a", 1, 9), write_study(source / "b", 2)
    (source / "licence.txt").write_text("no image")
    done = []
    taken = take_folder(
        zipped(source, tmp_path / "in.zip") if as_zip else source,
        intake,
        progress=lambda *at: done.append(at),
    )
    assert taken.begun == {one.hash: 1, two.hash: 1}
    assert (taken.instances, taken.broken, taken.left, taken.postponed) == (12, [], {}, [])
    assert [finding.code for finding in taken.others] == ["not-dicom"]
    assert done == [(number, 12) for number in range(1, 13)]
    for study in (one, two):
        assert intake.ledger.study(study.hash).state is State.READY
        assert intake.spool.missing(study.hash) == {}
    reading = read([instance.path for instance in intake.spool.instances(one.hash)])
    assert [volume.array.shape[2] for volume in reading.volumes] == [9]
    assert not reading.refused


def test_the_same_source_again_changes_nothing_and_a_new_slice_is_a_new_revision(intake, tmp_path):
    study = write_study(tmp_path / "in", 1, 4)
    late = study.paths[3].rename(tmp_path / "late.dcm")
    assert take_folder(tmp_path / "in", intake).begun == {study.hash: 1}
    again = take_folder(tmp_path / "in", intake)
    assert (again.begun, again.unchanged, again.instances) == ({}, [study.hash], 3)
    late.rename(study.paths[3])
    assert take_folder(tmp_path / "in", intake).begun == {study.hash: 2}
    assert intake.ledger.study(study.hash).instances == 4


def test_two_studies_in_one_folder_are_two(intake, tmp_path):
    one, two = write_study(tmp_path / "in", 1), write_study(tmp_path / "in", 2)
    assert take_folder(tmp_path / "in", intake).begun == {one.hash: 1, two.hash: 1}
    assert [intake.ledger.study(study.hash).instances for study in (one, two)] == [3, 3]


@pytest.mark.parametrize("length", [0, 200, -40])
def test_a_broken_file_marks_the_study_beside_it_until_it_is_mended(intake, tmp_path, length):
    study = write_study(tmp_path / "in" / "a", 1)
    other = write_study(tmp_path / "in" / "b", 2)
    content = study.paths[2].read_bytes()
    study.paths[2].write_bytes(content[:length])
    taken = take_folder(tmp_path / "in", intake)
    assert taken.left == {study.hash: "broken-file"}
    assert len(taken.broken) == 1
    assert "IM0002.dcm" in taken.broken[0].message
    assert list(intake.spool.missing(study.hash).values()) == ["broken-file"]
    assert intake.spool.missing(other.hash) == {}
    assert intake.ledger.study(study.hash).instances == 2
    study.paths[2].write_bytes(content)
    taken = take_folder(tmp_path / "in", intake)
    assert (taken.begun, taken.left) == ({study.hash: 2}, {})
    assert intake.spool.missing(study.hash) == intake.spool.missing(other.hash) == {}
    assert intake.spool.conflicts(study.hash) == []


def take_killed(monkeypatch, source, intake, files=3):
    """Take a folder, and be killed after so many files."""
    left = [files]

    def dying(*given):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return take_file(*given)

    with monkeypatch.context() as patched:
        patched.setattr(folder_module, "take_file", dying)
        with pytest.raises(KeyboardInterrupt):
            take_folder(source, intake)


def test_killed_between_two_files_no_part_is_taken_for_the_whole(intake, tmp_path, monkeypatch):
    study = write_study(tmp_path / "in", slices=6)
    take_killed(monkeypatch, tmp_path / "in", intake)
    settle(intake, 0)
    assert list(intake.spool.missing(study.hash).values()) == ["folder-unfinished"]
    assert take_folder(tmp_path / "in", intake).begun == {study.hash: 2}
    assert intake.spool.missing(study.hash) == {}
    assert intake.ledger.study(study.hash).instances == 6
    take_killed(monkeypatch, tmp_path / "in", intake)
    settle(intake, 0)
    assert intake.ledger.study(study.hash).revision == 2, "of what is there already no part is missed"


def test_postponed_with_a_part_of_it_there_already_a_study_is_not_whole(tmp_path, clock, monkeypatch):
    free = [100]
    limits, usage = SpoolLimits(free_bytes=10), lambda _: SimpleNamespace(free=free[0])
    intake = open_intake(tmp_path / "job", clock, limits=limits, usage=usage)
    study = write_study(tmp_path / "in", slices=6)
    take_killed(monkeypatch, tmp_path / "in", intake)
    free[0] = 1
    assert take_folder(tmp_path / "in", intake).postponed == [study.hash]
    settle(intake, 0)
    assert "folder-unfinished" in intake.spool.missing(study.hash).values()
    free[0] = 100
    take_folder(tmp_path / "in", intake)
    assert intake.spool.missing(study.hash) == {}


def test_marks_of_one_folder_are_not_taken_back_by_another(intake, tmp_path):
    study = write_study(tmp_path / "a", slices=6)
    cut, empty = study.paths[5], study.paths[4]
    whole = {path: path.read_bytes() for path in study.paths}
    cut.write_bytes(whole[cut][:-100])
    empty.write_bytes(b"")
    take_folder(tmp_path / "a", intake)
    assert len(intake.spool.missing(study.hash)) == 2
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "again.dcm").write_bytes(whole[study.paths[0]])
    assert take_folder(tmp_path / "b", intake).left == {}
    assert len(intake.spool.missing(study.hash)) == 2
    (tmp_path / "b" / "cut.dcm").write_bytes(whole[cut])
    take_folder(tmp_path / "b", intake)
    assert len(intake.spool.missing(study.hash)) == 1, "of an instance it is known when it comes"
    assert take_folder(tmp_path / "a", intake).left == {study.hash: "broken-file"}
    empty.write_bytes(whole[empty])
    take_folder(tmp_path / "a", intake)
    assert intake.spool.missing(study.hash) == {}
    assert intake.ledger.study(study.hash).instances == 6


def test_a_zip_with_a_member_that_is_damaged_marks_its_study(intake, tmp_path):
    study = write_study(tmp_path / "in", 1)
    path = zipped(tmp_path / "in", tmp_path / "in.zip")
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("IM0002.dcm")
        place = entry.header_offset + 30 + len(entry.filename) + entry.compress_size - 20
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    taken = take_folder(path, intake)
    assert taken.left == {study.hash: "broken-file"}
    assert len(taken.broken) == 1
    assert intake.ledger.study(study.hash).instances == 2
    assert not list((intake.spool.folder / "incoming").iterdir())


def test_own_results_in_the_folder_are_no_part_of_the_study(intake, tmp_path):
    study = write_study(tmp_path / "in", 1)
    take_folder(tmp_path / "in", intake)
    claim = intake.ledger.claim(Stage.MAKE)
    result = Result("2.25.77", "archive", hash_uid("content"), "x.dcm")
    intake.ledger.made(claim, [result], "recipe")
    made = study.datasets[0]
    made.SOPInstanceUID = result.uid
    save(tmp_path / "in" / "result.dcm", made)
    again = take_folder(tmp_path / "in", intake)
    assert (again.own, again.unchanged) == (1, [study.hash])
    assert intake.ledger.study(study.hash).state is State.MADE


def test_a_full_disk_postpones_what_does_not_fit_and_the_next_call_goes_on(tmp_path, clock):
    free = [1000]
    intake = open_intake(
        tmp_path, clock, limits=SpoolLimits(free_bytes=500), usage=lambda _: SimpleNamespace(free=free[0])
    )
    studies = [write_study(tmp_path / "in" / name, seed) for seed, name in enumerate("abc", 1)]

    def fills(done, total):
        free[0] = 1000 if done < 4 else 100

    taken = take_folder(tmp_path / "in", intake, progress=fills)
    assert taken.begun == {studies[0].hash: 1}
    assert taken.postponed == [study.hash for study in studies[1:]]
    assert taken.left == {studies[1].hash: "low-disk"}
    assert intake.ledger.study(studies[1].hash).state is State.RECEIVING, "no part of it is begun"
    free[0] = 1000
    taken = take_folder(tmp_path / "in", intake)
    assert taken.begun == {studies[1].hash: 1, studies[2].hash: 1}
    assert taken.postponed == []
    assert all(intake.spool.missing(study.hash) == {} for study in studies)


def test_too_large_an_instance_leaves_its_study_marked_and_the_others_whole(tmp_path, clock):
    one, two = write_study(tmp_path / "in" / "a", 1), write_study(tmp_path / "in" / "b", 2)
    largest = max(path.stat().st_size for path in (*one.paths, *two.paths))
    with one.paths[0].open("ab") as file:
        file.write(b"\xfc\xff\xfc\xffOB\0\0" + (1000).to_bytes(4, "little") + bytes(1000))
    intake = open_intake(tmp_path, clock, limits=SpoolLimits(free_bytes=0, instance_bytes=largest + 100))
    taken = take_folder(tmp_path / "in", intake)
    assert taken.left == {one.hash: "too-large"}
    assert taken.begun == {one.hash: 1, two.hash: 1}
    assert intake.spool.missing(one.hash) == {hash_uid(one.datasets[0].SOPInstanceUID): "too-large"}
    assert intake.spool.missing(two.hash) == {}


def test_nothing_there_is_a_wrong_call(intake, tmp_path):
    with pytest.raises(UsageError, match="got nothing there"):
        take_folder(tmp_path / "gone", intake)


def test_a_study_of_which_nothing_can_be_read_is_told_and_not_begun(intake, tmp_path):
    study = write_study(tmp_path / "in", 1, 1)
    study.paths[0].write_bytes(study.paths[0].read_bytes()[:-40])
    taken = take_folder(tmp_path / "in", intake)
    assert (taken.begun, len(taken.broken)) == ({}, 1)
    assert intake.ledger.studies() == []


def test_killed_before_any_statement_the_next_call_ends_with_all_studies_whole(tmp_path, clock, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # no power is cut here
    one, two = write_study(tmp_path / "in" / "a", 1, 1), write_study(tmp_path / "in" / "b", 2, 1)

    def run(folder, fatal, kept):
        with killed_before(monkeypatch, None, kept) as watch:
            intake = open_intake(folder, clock)
            opened = watch.statements
            watch.fatal = None if fatal is None else opened + fatal
            try:
                take_folder(tmp_path / "in", intake)
            except Killed:
                put_back(kept, folder)
            intake.ledger.close()
        return watch.statements - opened

    total = run(tmp_path / "whole", None, tmp_path / "unused")
    assert total > 20
    for fatal in range(total):
        folder = tmp_path / f"at{fatal}"
        run(folder, fatal, tmp_path / f"kept{fatal}")
        intake = open_intake(folder, clock)
        take_folder(tmp_path / "in", intake)
        for study in (one, two):
            record = intake.ledger.study(study.hash)
            assert (record.state, record.instances, record.arriving) == (State.READY, 1, False)
            assert record.digest == intake.spool.digest(study.hash)
            assert intake.spool.missing(study.hash) == {}
        assert intake.ledger.faults() == []
        intake.ledger.close()
