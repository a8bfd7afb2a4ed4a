from __future__ import annotations

import pytest

from tests.batch.delivery.outlets import Job


@pytest.fixture
def job(tmp_path):
    made = Job(tmp_path / "job")
    made.arrive("1")
    yield made
    assert made.ledger.faults() == []
    assert made.audit.verify().broken is None
    made.ledger.close()
