"""What has ended goes when its time is over, instances and results, and a line of the audit log says so."""

from __future__ import annotations

import pytest

from medkit.batch.ledger import State
from medkit.batch.service.keeping import INSTANCES_PURGED, RESULTS_PURGED, purge_old
from medkit.dicom.writing.stubs import is_stub
from tests.batch.ledger.stories import Clock
from tests.batch.status.live import LiveBatch, study

DAY = 86400


@pytest.fixture
def batch(tmp_path):
    live = LiveBatch(tmp_path, Clock())
    yield live
    live.ledger.close()


def purge(batch, days):
    return purge_old(batch.job, batch.ledger, batch.spool, batch.audit, days * DAY)


@pytest.mark.parametrize("state", [State.DELIVERED, State.REFUSED, State.SKIPPED, State.QUARANTINED])
def test_what_ended_goes_when_its_time_is_over(batch, state):
    batch.bring(state)
    assert purge(batch, 40000) == {INSTANCES_PURGED: [], RESULTS_PURGED: []}
    assert batch.spool.instances(study(state))
    gone = purge(batch, -40000)
    assert gone[INSTANCES_PURGED] == [study(state)]
    assert not batch.spool.instances(study(state))
    made = list(batch.job.results.rglob("*.dcm"))
    assert len(made) == (state is State.DELIVERED)
    assert gone[RESULTS_PURGED] == [study(state)] * len(made)
    assert all(is_stub(path) for path in made)


@pytest.mark.parametrize("state", [State.RECEIVING, State.READY, State.FAILED, State.MADE])
def test_what_goes_on_stays(batch, state):
    batch.bring(state)
    assert purge(batch, -40000) == {INSTANCES_PURGED: [], RESULTS_PURGED: []}
    assert batch.spool.instances(study(state))
    assert not any(is_stub(path) for path in batch.job.results.rglob("*.dcm"))
