from __future__ import annotations

import errno
import os
import shutil
import stat
from dataclasses import replace

import pytest

from medkit.batch.delivery.destinations import ArchiveDestination, FolderDestination, Made
from medkit.batch.identity import hash_uid
from medkit.dicom.network.archive import ArchiveDown, ArchiveRefused
from medkit.dicom.network.content import content_hash
from medkit.dicom.writing import save
from medkit.dicom.writing.stubs import reduce_to_stub
from tests.batch.delivery.outlets import NOTE, FakeArchive, a_result, write_note

STUDY = hash_uid(str(a_result("2.25.7").StudyInstanceUID))


def made_result(folder, uid="2.25.7", text="well"):
    path = folder / f"{uid}-{text}.dcm"
    save(a_result(uid, text), path)
    return Made(uid, path)


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return FolderDestination("folder", tmp_path / "out")


def test_a_folder_holds_whole_files_named_by_hash_and_uid(out, tmp_path):
    made = made_result(tmp_path)
    assert out.read_back(made) is None
    assert out.send([made]) == {"2.25.7": None}
    (path,) = [path for path in out.folder.rglob("*") if path.is_file()]
    assert path == out.folder / STUDY / "2.25.7.dcm"
    assert path.read_bytes() == made.path.read_bytes()
    assert out.read_back(made) == content_hash(made.path)
    assert out.send([made]) == {"2.25.7": None}, "the same again is the same"


@pytest.mark.parametrize(
    ("mask", "folder", "file"), [(0o022, 0o750, 0o640), (0, 0o750, 0o640), (0o077, 0o700, 0o600)]
)
def test_other_users_can_read_nothing(out, tmp_path, mask, folder, file):
    made = made_result(tmp_path)
    before = os.umask(mask)
    try:
        out.send([made])
    finally:
        os.umask(before)
    path = out.folder / STUDY / "2.25.7.dcm"
    assert [stat.S_IMODE(one.stat().st_mode) for one in (path.parent, path)] == [folder, file]


def test_a_file_is_on_disk_before_it_has_its_name_and_its_folder_after(out, tmp_path, monkeypatch):
    made, synced, real = made_result(tmp_path), [], os.fsync

    def watch(descriptor):
        synced.append((os.fstat(descriptor).st_ino, (out.folder / STUDY / "2.25.7.dcm").exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    out.send([made])
    file, folder, parent = ((out.folder / name).stat().st_ino for name in (f"{STUDY}/2.25.7.dcm", STUDY, "."))
    assert synced == [(file, False), (folder, True), (parent, True)]


def test_another_content_under_the_uid_is_neither_replaced_nor_taken_for_it(out, tmp_path):
    there, made = made_result(tmp_path, text="other"), made_result(tmp_path)
    out.send([there])
    (answer,) = out.send([made]).values()
    assert "remove that by hand" in answer
    assert out.read_back(made) == content_hash(there.path) != content_hash(made.path)


def test_what_a_killed_writer_left_is_swept(out, tmp_path):
    made = made_result(tmp_path)
    (out.folder / STUDY).mkdir()
    (out.folder / STUDY / ".part-99999-2.25.7.dcm").write_bytes(b"half")
    out.send([made])
    assert [path.name for path in (out.folder / STUDY).iterdir()] == ["2.25.7.dcm"]


def test_withdrawn_is_removed_and_others_stay(out, tmp_path):
    one, other = made_result(tmp_path), made_result(tmp_path, "2.25.8")
    out.send([one, other])
    for _ in range(2):
        out.withdraw(one)
        assert out.read_back(one) is None
        assert out.read_back(other) is not None
    out.withdraw(other)
    assert list(out.folder.iterdir()) == []


def test_a_folder_that_is_not_mounted_or_full_is_down(out, tmp_path, monkeypatch):
    made = made_result(tmp_path)
    with monkeypatch.context() as patched:

        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patched.setattr(shutil, "copyfile", full)
        with pytest.raises(ArchiveDown, match=r"folder: its folder cannot be .* \(No space left on device\)"):
            out.send([made])
    assert out.read_back(made) is None
    shutil.rmtree(out.folder)
    for call in (lambda: out.send([made]), lambda: out.read_back(made), lambda: out.withdraw(made)):
        with pytest.raises(ArchiveDown, match="mount or make it") as caught:
            call()
        assert caught.value.code == "folder-gone"
    assert not out.folder.exists()


def test_what_cannot_be_read_back_is_refused(out, tmp_path):
    made = made_result(tmp_path)
    out.send([made])
    (out.folder / STUDY / "2.25.7.dcm").write_bytes(b"rot")
    with pytest.raises(ArchiveRefused, match="expected a DICOM object") as caught:
        out.read_back(made)
    assert caught.value.code == "read-back-unreadable"


def test_a_result_whose_file_is_gone_is_withdrawn_wherever_it_lies(out, tmp_path):
    made, other = made_result(tmp_path), made_result(tmp_path, "2.25.8")
    out.send([made, other])
    for known in (made, other):
        known.path.unlink()
    out.withdraw(made)
    assert [path.name for path in out.folder.glob("*/*")] == ["2.25.8.dcm"]
    out.withdraw(replace(other, study_uid=str(a_result("2.25.8").StudyInstanceUID)))
    out.withdraw(other)
    assert list(out.folder.iterdir()) == []


def test_a_result_whose_file_is_gone_is_no_fault_of_the_folder(out, tmp_path):
    with pytest.raises(ArchiveRefused) as caught:
        out.send([Made("2.25.7", tmp_path / "gone.dcm")])
    assert caught.value.code == "result-unreadable"
    assert list(out.folder.iterdir()) == []


def test_an_object_of_an_archive_that_cannot_be_compared_is_refused(tmp_path):
    archive, made = FakeArchive(), made_result(tmp_path)
    destination = ArchiveDestination(archive, write_note)
    destination.send([made])
    packed = archive.objects["2.25.7"]
    packed.Rows = packed.Columns = packed.BitsAllocated = 1
    packed.PixelData = b"\0\0"
    packed.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.8.1"  # Deflated Image Frame Compression
    with pytest.raises(ArchiveRefused, match="that can be compared") as caught:
        destination.read_back(made)
    assert caught.value.code == "read-back-unreadable"


def test_an_archive_takes_gives_back_and_is_told_of_what_does_not_count(tmp_path):
    archive = FakeArchive()
    pacs, made = ArchiveDestination(archive, write_note), made_result(tmp_path)
    assert (pacs.name, ArchiveDestination(archive, write_note, "second").name) == ("pacs", "second")
    assert pacs.read_back(made) is None
    assert pacs.send([made]) == {"2.25.7": None}
    assert pacs.read_back(made) == content_hash(made.path)
    for _ in range(2):
        pacs.withdraw(made)
    assert archive.objects.keys() == {"2.25.7", f"2.25.7{NOTE}"}
    assert set(archive.sent.values()) == {1}


def test_a_note_is_sent_for_an_object_that_the_archive_does_not_show_yet(tmp_path):
    archive = FakeArchive()
    ArchiveDestination(archive, write_note).withdraw(made_result(tmp_path))
    assert archive.objects.keys() == {f"2.25.7{NOTE}"}


@pytest.mark.parametrize("fault", ["lies", "refuses-objects"])
def test_a_note_that_is_not_there_after_it_was_sent_is_told(tmp_path, fault):
    archive = FakeArchive(faults=["", fault])
    with pytest.raises(ArchiveRefused, match="expected a rejection note") as caught:
        ArchiveDestination(archive, write_note).withdraw(made_result(tmp_path))
    assert caught.value.code == "withdrawal-lost"


@pytest.mark.parametrize("there", [True, False])
def test_of_what_no_more_than_uids_was_kept_the_archive_itself_is_asked(tmp_path, there):
    archive, made = FakeArchive(), made_result(tmp_path)
    destination = ArchiveDestination(archive, write_note)
    if there:
        destination.send([made])
    reduce_to_stub(made.path)
    destination.withdraw(made)
    assert set(archive.objects) == ({"2.25.7", f"2.25.7{NOTE}"} if there else set())
    if there:
        assert archive.objects[f"2.25.7{NOTE}"].PatientName == "Somebody^Some"
    assert list(tmp_path.glob("*")) == [made.path], "and nothing of it stays here"


def test_a_result_whose_file_is_gone_cannot_be_withdrawn_by_a_note(tmp_path):
    made = Made("2.25.7", tmp_path / "gone.dcm")
    with pytest.raises(ArchiveRefused) as caught:
        ArchiveDestination(FakeArchive(), write_note).withdraw(made)
    assert caught.value.code == "result-unreadable"
