"""Files are found by name, and zips are opened only where that is safe."""

from __future__ import annotations

import errno
import os
import zipfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from medkit.dicom.limits import Limits
from medkit.dicom.sources import find_sources, is_empty
from medkit.errors import UsageError


def found(source, limits=None):
    with ExitStack() as stack:
        sources, refusals = find_sources(source, limits or Limits(), stack)
        return {source.shown: source.open().read() for source in sources}, [
            finding.code for finding in refusals
        ]


def test_all_files_below_a_folder_whatever_their_names(tmp_path):
    names = ("b/2", "b/1", "a", ".hidden", "DICOMDIR")
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    (tmp_path / "empty").mkdir()
    contents, refusals = found(tmp_path)
    assert contents == {name: name.encode() for name in names}
    assert not refusals


def test_members_of_a_zip_are_read_and_never_written(tmp_path):
    path = tmp_path / "z" / "study.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../outside", b"1")
        archive.writestr("/root/inside", b"2")
    before = sorted(tmp_path.rglob("*"))
    contents, refusals = found(path)
    assert sorted(contents.values()) == [b"1", b"2"]
    assert not refusals
    assert sorted(tmp_path.rglob("*")) == before
    assert found([path, path.parent])[0].keys() == contents.keys()


@pytest.mark.parametrize(
    "limits",
    [Limits(members=1), Limits(zip_bytes=1999), Limits(growth=3, growth_free_bytes=100)],
    ids=["members", "bytes", "growth"],
)
def test_a_zip_beyond_limits_is_refused_unread(limits, tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(1000))
        archive.writestr("b", bytes(1000))
    assert found(path)[1] == []
    assert found(path, limits) == ({}, ["zip-unsafe"])


def test_a_zip_with_a_password_or_a_name_twice_is_refused(tmp_path):
    path = tmp_path / "twice.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"2")
    assert found(path)[1] == ["zip-unsafe"]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"1")
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert found(path)[1] == ["zip-unsafe"]


def test_a_zip_is_known_by_its_beginning_or_its_name(tmp_path):
    (tmp_path / "tail").write_bytes(bytes(500) + b"PK\x05\x06" + bytes(18))
    (tmp_path / "preamble").write_bytes(b"PK\x03\x04".ljust(128, b"\0") + b"DICM")
    assert found(tmp_path)[0].keys() == {"tail", "preamble"}
    (tmp_path / "cut").write_bytes(b"PK\x03\x04" + bytes(500))
    (tmp_path / "page.zip").write_text("<html>")
    assert found(tmp_path)[1] == ["zip-unreadable"] * 2


def test_members_that_grow_too_much_together_are_refused(tmp_path):
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in "abcdefghij":
            archive.writestr(name, bytes(1000))
    limits = Limits(growth=2, growth_free_bytes=1000)
    assert found(path, limits) == ({}, ["zip-unsafe"])
    assert found(path, Limits(growth=20, growth_free_bytes=1000))[1] == []


def test_a_link_to_nothing_and_a_folder_that_may_not_be_listed_are_files_that_cannot_be_opened(
    tmp_path, monkeypatch
):
    (tmp_path / "shut").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "shut":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with ExitStack() as stack:
        sources, refusals = find_sources(tmp_path, Limits(), stack)
    assert not refusals
    assert {source.shown for source in sources} == {"link", "shut"}
    for source in sources:
        with pytest.raises(OSError, match=r"a link to nothing|cannot be listed \(Permission denied\)"):
            source.open()


def test_nothing_there(tmp_path):
    with pytest.raises(UsageError, match="got nothing there"):
        found(tmp_path / "missing")


def test_a_folder_without_a_file_is_empty_and_one_with_a_link_to_nothing_is_not(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert is_empty(tmp_path)
    (tmp_path / "a" / "gone").symlink_to(tmp_path / "nowhere")
    assert not is_empty(tmp_path)
    (tmp_path / "a" / "file").touch()
    assert not is_empty(tmp_path / "a" / "file")
