from __future__ import annotations

import pytest

from tests.batch.ledger.stories import Clock
from tests.batch.status.live import LiveBatch


@pytest.fixture
def clock():
    return Clock(1_700_000_000.0)


@pytest.fixture
def batch(tmp_path, clock):
    live = LiveBatch(tmp_path / "night", clock)
    yield live
    live.ledger.close()
