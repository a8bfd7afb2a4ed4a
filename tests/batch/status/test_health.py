from __future__ import annotations

from medkit.batch.ledger import Stage
from medkit.batch.notices import Kind, Notices
from medkit.batch.spool import SpoolLimits
from medkit.batch.status.alerts import Thresholds, alerts
from medkit.batch.status.health import not_ready
from tests.batch.status.live import LEASE
from tests.batch.status.test_summary import look


def problems(batch, **options):
    return not_ready(alerts(look(batch, **options), Thresholds()))


def test_a_study_in_quarantine_is_no_reason_to_start_anew(batch):
    assert problems(batch.one_of_each()) == []


def test_what_waits_for_a_service_that_does_not_run_is(batch):
    batch.arrive("a")
    assert problems(batch) == []
    batch.service.release()
    (problem,) = problems(batch)
    assert problem.startswith("no service runs on this folder; what waits: 1 to be made")


def test_a_full_disk_and_silent_workers_are(batch):
    batch.arrive("a")
    batch.ledger.claim(Stage.MAKE)
    kept = SpoolLimits().free_bytes
    assert problems(batch, free=kept) == []
    (low,) = problems(batch, free=kept - 1)
    assert low.startswith("nothing is taken: 10.0 GiB free on the disk")
    batch.clock.pass_by(LEASE + 3600)
    (silent,) = problems(batch)
    assert "silent" in silent


def test_an_audit_log_that_takes_no_line_is_and_one_that_was_changed_is_not(batch):
    notices = Notices(batch.job.notices, batch.clock)
    notices.put(Kind.AUDIT, "audit", "audit-broken", "line 3: expected the hash of the line before")
    assert problems(batch) == []
    notices.put(Kind.AUDIT_LINES, "audit", "audit-stopped", "it takes no line")
    assert problems(batch) == ["audit: it takes no line"]
