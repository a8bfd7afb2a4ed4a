from __future__ import annotations

import json
from datetime import time

import pytest

from medkit.batch.folder import JobFolder, ServiceState
from medkit.batch.hours import parse_hours
from medkit.batch.status.alerts import Thresholds
from medkit.batch.status.service_record import ServiceRecord, service_alerts, service_state
from tests.batch.status.test_summary import look

ASKED = Thresholds(silent_hours=4, expected=parse_hours("mon-fri 07:00-19:00"), delivery_hours=0.5)


@pytest.fixture
def job(tmp_path):
    return JobFolder(tmp_path)


def test_what_a_service_left_is_read_as_it_was(job):
    for record in (ServiceRecord(ASKED, 3, 5.0), ServiceRecord(began=1.0, ended=2.0), ServiceRecord()):
        record.write(job)
        assert ServiceRecord.read(job) == record
    assert [path.name for path in job.root.iterdir()] == ["service.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "7",
        '{"thresholds": {}}',
        '{"thresholds": {"expected": "noon"}}',
        '{"thresholds": {"expected": null}}',
        "\xff",
    ],
)
def test_what_nobody_left_or_is_damaged_is_the_defaults(job, text):
    assert ServiceRecord.read(job) == ServiceRecord()
    job.service.write_bytes(text.encode("latin-1"))
    assert ServiceRecord.read(job) == ServiceRecord()


def test_what_another_version_left_is_the_defaults(job):
    ServiceRecord(ASKED, 3, 5.0).write(job)
    job.service.write_text(json.dumps({**json.loads(job.service.read_text()), "new": 1}))
    assert ServiceRecord.read(job) == ServiceRecord()


def test_a_folder_that_takes_nothing_stops_nobody(tmp_path):
    (tmp_path / "file").touch()
    ServiceRecord().write(JobFolder(tmp_path / "file"))


def test_a_service_runs_ends_in_good_order_or_is_killed(batch):
    job = batch.job
    assert service_state(job) is ServiceState.RUNNING
    ServiceRecord(began=5.0).write(job)
    assert service_state(job) is ServiceState.RUNNING
    batch.service.release()
    assert service_state(job) is ServiceState.KILLED
    ServiceRecord(began=5.0, ended=6.0).write(job)
    assert service_state(job) is ServiceState.STOPPED
    job.service.unlink()
    assert service_state(job) is ServiceState.STOPPED, "nobody knows of a service"


def test_hours_are_those_of_the_wall(job):
    ServiceRecord(ASKED).write(job)
    assert ServiceRecord.read(job).thresholds.expected.begin == time(7)


def told(batch, silent_hours=None, **options):
    return [str(alert.code) for alert in service_alerts(batch.job, look(batch, **options), silent_hours)]


def test_a_person_is_called_when_the_service_says_so_or_the_last_one_said_so(batch):
    batch.make("a")
    batch.clock.pass_by(3600)
    assert told(batch) == []
    ServiceRecord(Thresholds(delivery_hours=0.5), 3 << 30).write(batch.job)
    assert told(batch, free=5 << 30) == ["delivery-stuck", "disk-low"]
    batch.service.release()
    assert told(batch, free=6 << 30) == ["no-service", "delivery-stuck"]


@pytest.mark.parametrize("came", [True, False])
def test_that_nothing_comes_is_told_where_a_service_runs_or_somebody_asks(batch, came):
    if came:
        batch.deliver("a")
    begun = batch.clock.now
    batch.clock.pass_by(2 * 3600)
    ServiceRecord(Thresholds(silent_hours=1), began=begun).write(batch.job)
    assert told(batch) == ["nothing-came"]
    assert told(batch, silent_hours=3) == []
    ServiceRecord(Thresholds(silent_hours=1), began=begun, ended=begun + 1).write(batch.job)
    batch.service.release()
    assert told(batch) == []
    assert told(batch, silent_hours=1) == (["nothing-came"] if came else []), "no service listened since"
