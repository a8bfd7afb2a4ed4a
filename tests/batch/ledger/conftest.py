from __future__ import annotations

import pytest

from tests.batch.ledger.stories import Clock, open_ledger


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(tmp_path, clock):
    with open_ledger(tmp_path, clock) as opened:
        yield opened
        assert opened.faults() == []
