from __future__ import annotations

import pytest

from medkit.batch.status.service_record import ServiceRecord
from tests.batch.ledger.stories import Clock
from tests.batch.status.live import LiveBatch


@pytest.fixture
def batch(tmp_path):
    live = LiveBatch(tmp_path / "night", Clock(1_700_000_000.0))
    ServiceRecord(kept_free_bytes=0).write(live.job)  # or the disk of the machine may be told
    yield live
    live.ledger.close()
