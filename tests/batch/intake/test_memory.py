from __future__ import annotations

import stat
from threading import Thread

import pytest

from medkit.batch.intake.memory import Memory
from medkit.errors import UsageError


def test_what_was_put_is_there_for_the_next_process(tmp_path):
    memory = Memory(tmp_path / "new" / "memory.sqlite")
    memory.put("a", {"stamp": [1, 2]})
    memory.put("b", {})
    memory.put("a", {"stamp": [3, 4]})
    memory.drop("b")
    memory.drop("c")
    again = Memory(tmp_path / "new" / "memory.sqlite")
    assert again.items() == memory.items() == [("a", {"stamp": [3, 4]})]
    assert (again.get("a"), again.get("b")) == ({"stamp": [3, 4]}, None)
    assert stat.S_IMODE((tmp_path / "new" / "memory.sqlite").stat().st_mode) == 0o600
    memory.close()
    again.close()


def test_another_file_is_no_memory(tmp_path):
    (tmp_path / "memory.sqlite").write_bytes(b"something else, and long enough to be read as a header" * 20)
    with pytest.raises(UsageError, match="remove it, and all is looked at again"):
        Memory(tmp_path / "memory.sqlite")


def test_a_full_disk_is_an_error_of_the_disk_and_forgets_nothing(tmp_path):
    memory = Memory(tmp_path / "memory.sqlite")
    memory.put("a", {"stamp": 1})
    memory._connection.execute("PRAGMA max_page_count = 1")  # as on a full disk
    with pytest.raises(OSError, match="cannot be written"):
        memory.put("b", {"x": "y" * 1_000_000})
    assert memory.get("a") == {"stamp": 1}
    memory.close()
    with pytest.raises(OSError, match="cannot be written"):
        memory.drop("a")
    assert memory.get("a") == {"stamp": 1}


def test_it_is_closed_when_no_other_thread_writes(tmp_path):
    """Or SQLite takes the process down with it."""
    memory = Memory(tmp_path / "memory.sqlite")
    closing = Thread(target=memory.close)
    with memory._lock:
        closing.start()
        closing.join(0.2)
        assert closing.is_alive()
    closing.join()
    with pytest.raises(OSError, match="cannot be written"):
        memory.put("a", {})
