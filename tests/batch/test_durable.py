from __future__ import annotations

import os
from pathlib import Path

import pytest

from medkit.batch.durable import sync_folder


def test_the_folder_itself_is_written(tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: (synced.append(os.fstat(descriptor)), real(descriptor))
    )
    sync_folder(tmp_path)
    assert [state.st_ino for state in synced] == [tmp_path.stat().st_ino]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "a").write_text("")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(NotADirectoryError):
        sync_folder(tmp_path / "a")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
