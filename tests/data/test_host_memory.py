"""The memory that there is, on a machine and in a container."""

from __future__ import annotations

import psutil
import pytest

from medkit.data import host_memory
from medkit.data.host_memory import free_memory, total_memory


@pytest.mark.parametrize(("limit", "expected"), [("max", None), ("3000000", 3_000_000 - 1_000_000 + 200_000)])
def test_limit_of_a_container(tmp_path, monkeypatch, limit, expected):
    monkeypatch.setattr(host_memory, "_CGROUP", tmp_path)
    whole = free_memory()
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 200000\n")
    assert free_memory() == expected if expected else free_memory() > 0.5 * whole


@pytest.mark.parametrize("limit", [None, "max", str(1 << 60), "3000000"])
def test_all_of_a_machine_or_of_a_container(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(host_memory, "_CGROUP", tmp_path)
    if limit is not None:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
    whole = psutil.virtual_memory().total
    assert total_memory() == (3_000_000 if limit == "3000000" else whole)
