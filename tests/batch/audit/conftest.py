from __future__ import annotations

import pytest

from medkit.batch.audit import AuditLog
from tests.batch.audit.logs import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def log(tmp_path, clock):
    return AuditLog(tmp_path / "audit", "node", clock)
