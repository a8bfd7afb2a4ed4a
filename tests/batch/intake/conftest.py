from __future__ import annotations

import pytest

from tests.batch.intake.door import open_intake
from tests.batch.ledger.stories import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def intake(tmp_path, clock):
    opened = open_intake(tmp_path / "job", clock)
    yield opened
    assert opened.ledger.faults() == []
    assert opened.audit.verify().broken is None
    opened.ledger.close()
