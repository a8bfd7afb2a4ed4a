"""Files are found by name, and zips are opened only where that is safe."""

from __future__ import annotations

import zipfile
from contextlib import ExitStack

import pytest

from medkit.dicom.limits import Limits
from medkit.dicom.sources import find_sources
from medkit.errors import UsageError


def found(source, limits=None):
    with ExitStack() as stack:
        sources, refusals = find_sources(source, limits or Limits(), stack)
        return {source.shown: source.open().read() for source in sources}, [
            finding.code for finding in refusals
        ]


def test_all_files_below_a_folder_but_hidden_ones_and_indices(tmp_path):
    for name in ("b/2", "b/1", "a", ".hidden", "DICOMDIR"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    (tmp_path / "empty").mkdir()
    contents, refusals = found(tmp_path)
    assert contents == {"a": b"a", "b/1": b"b/1", "b/2": b"b/2"}
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


def test_nothing_there(tmp_path):
    with pytest.raises(UsageError, match="got nothing there"):
        found(tmp_path / "missing")
