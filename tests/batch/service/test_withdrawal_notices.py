"""What a service cannot withdraw is told by its cause until it is withdrawn."""

from __future__ import annotations

import time
from contextlib import closing

import pytest

from medkit.batch.delivery.troubles import Trouble
from medkit.batch.folder import JobFolder
from medkit.batch.ledger import Stage
from medkit.batch.notices import Kind, Notices
from medkit.batch.service import supervisor as module
from medkit.batch.service.settings import Settings
from medkit.batch.service.supervisor import Supervisor
from medkit.batch.status.alerts import Thresholds, alerts
from medkit.batch.status.summary import summarise
from tests.batch.ledger.stories import Clock
from tests.batch.status.live import LiveBatch


def told(supervisor):
    found = alerts(summarise(supervisor.ledger, time.time()), Thresholds(), kept_free_bytes=0)
    return [(one.code, one.message) for one in found]


def withdrawal_due(folder):
    """A batch of a study that was refused after its result was at a destination named archive."""
    batch = LiveBatch(folder, Clock(time.time() - 1000))
    batch.deliver("a")
    batch.ledger.receive(batch.ledger.studies()[0].study)
    batch.clock.pass_by(10)
    (arrival,) = batch.ledger.arrivals()
    batch.ledger.complete(arrival, "c" * 64, 2)
    batch.ledger.refuse(batch.ledger.claim(Stage.MAKE), "tilt", "it is tilted")
    batch.ledger.close()


def test_a_withdrawal_that_fails_is_told_by_its_cause_until_it_goes_well(tmp_path):
    withdrawal_due(tmp_path / "job")
    here, settings = tmp_path / "out", {"job": JobFolder(tmp_path / "job"), "rules": ()}
    here.mkdir()
    with closing(Supervisor(Settings(**settings, folders={"other": here}))) as supervisor:
        supervisor._withdraw()
        ((code, message),) = told(supervisor)
        assert code == "withdrawal-fails"
        assert message.startswith(
            "withdrawing: 1 of the results that no longer count not withdrawn: expected a"
        )
        assert "got archive" in message
    with closing(Supervisor(Settings(**settings, folders={"archive": here}))) as supervisor:
        supervisor._withdraw()
        assert told(supervisor) == []
        assert supervisor.ledger.withdrawals() == []


@pytest.mark.parametrize(
    ("code", "passing"), [("archive-down", True), ("not-shown-yet", True), ("tls-failed", False)]
)
def test_one_that_may_go_well_by_itself_is_told_later(tmp_path, monkeypatch, code, passing):
    monkeypatch.setattr(module, "withdraw_due", lambda *_: [Trouble(code, "archive: expected an answer")])
    with closing(Supervisor(Settings(JobFolder(tmp_path / "job"), ()))) as supervisor:
        supervisor._withdraw()
        (notice,) = Notices(tmp_path / "job" / "notices").all()
    assert (notice.code, notice.passing) == (code, passing)


def test_what_an_earlier_service_said_is_forgotten(tmp_path):
    notices, settings = Notices(tmp_path / "job" / "notices"), Settings(JobFolder(tmp_path / "job"), ())
    for stop in (False, True):
        notices.put(Kind.SOURCE, "archive-1", "tls-failed", "expired")
        supervisor = Supervisor(settings)
        if stop:
            notices.put(Kind.SOURCE, "archive-2", "tls-failed", "expired")
        else:
            assert notices.all() == []
        supervisor.close()
        assert notices.all() == []
