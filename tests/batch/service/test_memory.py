"""What a worker may take: what it is told, or its share of what the machine has."""

from __future__ import annotations

import pytest

from medkit.batch.folder import JobFolder
from medkit.batch.service import memory
from medkit.batch.service.memory import worker_memory
from medkit.batch.service.settings import Settings, WorkLimits


@pytest.mark.parametrize(("workers", "told", "expected"), [(1, None, 9000), (4, None, 2250), (4, 77, 77)])
def test_what_a_worker_may_take(tmp_path, monkeypatch, workers, told, expected):
    monkeypatch.setattr(memory, "total_memory", lambda: 10_000)
    settings = Settings(JobFolder(tmp_path), rules=(), workers=workers, limits=WorkLimits(memory_bytes=told))
    assert worker_memory(settings) == expected
