from __future__ import annotations

from datetime import UTC, time

import pytest

from medkit.batch.hours import Hours
from medkit.batch.ledger import Mode, Stage
from medkit.batch.notices import Kind, Notices
from medkit.batch.spool import SpoolLimits
from medkit.batch.status.alerts import AlertCode, Thresholds, alerts
from medkit.batch.status.service_record import ServiceRecord
from tests.batch.status.live import LEASE, study
from tests.batch.status.test_summary import look

HOUR = 3600


def codes(batch, thresholds=None, since=None, **options):
    return [str(alert.code) for alert in alerts(look(batch, **options), thresholds or Thresholds(), since)]


def test_an_empty_batch_and_one_that_is_done_are_well(batch):
    assert codes(batch) == []
    batch.deliver("a")
    batch.clock.pass_by(1000 * HOUR)
    assert codes(batch) == []


def test_quarantine_calls_a_person(batch):
    batch.arrive("a")
    assert codes(batch) == []
    batch.give_up("a")
    (alert,) = alerts(look(batch), Thresholds())
    assert alert.code is AlertCode.QUARANTINE
    assert alert.message.startswith("1 study in quarantine; ")


def test_nobody_is_called_for_what_a_person_set_aside(batch):
    for name in ("a", "b", "c"):
        batch.arrive(name)
    for name in ("a", "b"):
        batch.give_up(name)
    for name in ("a", "c"):
        batch.ledger.quarantine(study(name), "the ward knows")
    (alert,) = alerts(look(batch), Thresholds())
    assert alert.message.startswith("1 study in quarantine; ")
    assert [one.study for one in look(batch).troubled] == [study("b")]
    batch.ledger.quarantine(study("b"), "the ward knows")
    assert codes(batch) == []
    batch.ledger.retry(study("a"), "it was mended")
    batch.give_up("a")
    assert codes(batch) == ["quarantine"]


def test_nothing_came_for_so_many_hours(batch):
    asked = Thresholds(silent_hours=12)
    batch.deliver("a")
    batch.clock.pass_by(12 * HOUR)
    assert codes(batch, asked) == []
    batch.clock.pass_by(1)
    assert codes(batch, asked) == ["nothing-came"]
    assert codes(batch) == [], "not unless asked"
    batch.receive("b")
    assert codes(batch, asked) == []


def test_nothing_ever_came_is_told_by_a_service_alone(batch):
    asked = Thresholds(silent_hours=12)
    start = batch.clock.now
    batch.clock.pass_by(13 * HOUR)
    assert codes(batch, asked) == []
    (alert,) = alerts(look(batch), asked, start)
    assert "nothing ever came for 13 h" in alert.message
    assert codes(batch, asked, since=batch.clock.now - HOUR) == [], "the service began an hour ago"


def test_hours_in_which_nothing_is_expected_do_not_count(batch):
    # The clock stands at Tuesday, 22:13 UTC.
    asked = Thresholds(silent_hours=3, expected=Hours(frozenset(range(5)), time(7), time(19), UTC))
    batch.deliver("a")
    batch.clock.pass_by(11 * HOUR)
    assert codes(batch, asked) == []
    batch.clock.pass_by(2 * HOUR)
    assert codes(batch, asked) == ["nothing-came"]


def test_what_came_to_rest_and_is_not_begun(batch):
    batch.receive("a")
    batch.clock.pass_by(HOUR)
    assert codes(batch) == []
    batch.receive("a")
    batch.clock.pass_by(HOUR)
    assert codes(batch) == [], "more came"
    batch.clock.pass_by(1)
    assert codes(batch) == ["receiving-stuck"]


def test_what_never_comes_to_rest(batch):
    for _ in range(49):
        batch.receive("a")
        assert codes(batch) == []
        batch.clock.pass_by(HOUR / 2)
    assert codes(batch) == ["receiving-endless"]
    batch.arrive("a")
    assert codes(batch) == []


@pytest.mark.parametrize(
    ("begin", "stage", "hours", "code"),
    [("arrive", Stage.MAKE, 24, "making-stuck"), ("make", Stage.DELIVER, 2, "delivery-stuck")],
)
def test_what_waits_too_long_is_told_however_often_it_is_tried(batch, begin, stage, hours, code):
    getattr(batch, begin)("a")
    for _ in range(10):
        batch.clock.pass_by(hours / 10 * HOUR)
        batch.ledger.give_back(batch.ledger.claim(stage), "archive-down", "no answer")
    assert codes(batch) == []
    batch.clock.pass_by(1)
    assert codes(batch) == [code]


def test_workers_that_are_silent(batch):
    batch.arrive("a")
    batch.ledger.claim(Stage.MAKE)
    batch.clock.pass_by(LEASE + 0.25 * HOUR)
    assert codes(batch) == []
    batch.clock.pass_by(1)
    assert codes(batch) == ["workers-silent"]
    batch.ledger.expire()
    assert codes(batch) == []


def test_an_earlier_result_that_stays_too_long(batch):
    batch.deliver("a")
    batch.ledger.receive(study("a"))
    (arrival,) = batch.ledger.arrivals()
    batch.ledger.complete(arrival, "f" * 64, 2)
    batch.ledger.refuse(batch.ledger.claim(Stage.MAKE), "rejected", "a rejection note came")
    batch.clock.pass_by(2 * HOUR)
    assert codes(batch) == []
    batch.clock.pass_by(1)
    assert codes(batch) == ["withdrawals-due"]


def test_no_service_calls_a_person_where_something_waits(batch):
    batch.deliver("a")
    batch.service.release()
    assert codes(batch) == [], "a batch that is done, or a service that was stopped"
    batch.arrive("b")
    batch.receive("c")
    (alert,) = alerts(look(batch), Thresholds())
    assert alert.code is AlertCode.NO_SERVICE
    assert alert.message == (
        "no service runs on this folder; what waits: 1 being received, 1 to be made; start medkit serve, or medkit "
        "batch run, again"
    )


def test_a_service_that_was_killed_calls_a_person_though_nothing_waits(batch):
    batch.deliver("a")
    ServiceRecord(began=batch.clock.now).write(batch.job)
    assert codes(batch) == [], "it runs"
    batch.service.release()
    (alert,) = alerts(look(batch), Thresholds())
    assert (alert.code, "(the last was killed); start" in alert.message) == (AlertCode.NO_SERVICE, True)


def test_what_is_made_has_to_be_delivered(batch):
    batch.make("a")
    batch.clock.pass_by(3 * HOUR)
    assert codes(batch) == ["delivery-stuck"]


def test_a_shadow_delivers_nothing_and_nobody_is_called_for_it(batch):
    batch.ledger.run_as(Mode(shadow=True))
    batch.make("a")
    batch.clock.pass_by(3 * HOUR)
    assert codes(batch) == []
    batch.service.release()
    assert codes(batch) == [], "what is made there waits for nobody"


def test_a_full_disk_is_told_as_that(batch):
    (alert,) = alerts(look(batch, free=11 << 30), Thresholds(), None, 10 << 30)
    assert alert.code is AlertCode.DISK_LOW
    assert (
        alert.message
        == "11.0 GiB free on the disk, expected 20.0 GiB; make room, or soon nothing more is taken"
    )
    (alert,) = alerts(look(batch, free=9 << 30), Thresholds(), None, 10 << 30)
    assert alert.code is AlertCode.STORE_FULL
    assert alert.message.startswith(
        "nothing is taken: 9.0 GiB free on the disk, expected 10.0 GiB; make room"
    )
    assert alerts(look(batch, free=2 << 30), Thresholds(), None, 1 << 30) == []


def test_the_disk_is_told_before_the_store_takes_no_more(batch):
    kept = SpoolLimits().free_bytes
    assert codes(batch, free=2 * kept) == []
    assert codes(batch, free=2 * kept - 1) == ["disk-low"]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (Kind.SOURCE, "source-fails"),
        (Kind.DESTINATION, "destination-fails"),
        (Kind.WITHDRAWAL, "withdrawal-fails"),
        (Kind.CHORE, "chore-fails"),
        (Kind.WORKERS, "workers-dying"),
        (Kind.CLUSTER, "cluster-fails"),
        (Kind.AUDIT, "audit-broken"),
        (Kind.AUDIT_LINES, "audit-stopped"),
    ],
)
def test_what_time_alone_does_not_mend_is_told_at_once_with_its_cause(batch, kind, code):
    notices = Notices(batch.job.notices, batch.clock)
    notices.put(kind, "archive-1", "tls-failed", "PACS: expected TLS, got: certificate has expired")
    (alert,) = alerts(look(batch), Thresholds())
    assert alert.code == code
    assert alert.message == "archive-1: PACS: expected TLS, got: certificate has expired"
    notices.clear(kind, "archive-1")
    assert codes(batch) == []


def test_a_destination_that_says_the_same_to_all_it_is_asked_is_one_alert(batch):
    notices = Notices(batch.job.notices, batch.clock)
    down = {"code": "archive-down", "message": "nobody answers", "passing": True}
    notices.put(Kind.DESTINATION, "pacs", **down, task="sending")
    batch.clock.pass_by(HOUR)
    notices.put(Kind.DESTINATION, "pacs", **down)
    notices.put(Kind.DESTINATION, "pacs-sending", **down)  # so may another be called
    notices.put(Kind.DESTINATION, "other", **down, task="sending")
    notices.put(Kind.DESTINATION, "pacs", "not-allowed", "it lets us in nowhere", task="showing")
    notices.put(Kind.SOURCE, "pacs", **down)
    batch.clock.pass_by(2 * HOUR)
    assert [alert.message for alert in alerts(look(batch), Thresholds())] == [
        "pacs, for 2 h: nobody answers",
        "other-sending, for 2 h: nobody answers",
        "pacs-sending, for 3 h: nobody answers",
        "pacs-sending, for 2 h: nobody answers",
        "pacs-showing, for 2 h: it lets us in nowhere",
    ]


def test_what_may_pass_by_itself_is_told_after_a_while(batch):
    Notices(batch.job.notices, batch.clock).put(
        Kind.SOURCE, "archive-1", "archive-down", "nobody answers", passing=True
    )
    batch.clock.pass_by(HOUR)
    assert codes(batch) == []
    assert codes(batch, Thresholds(down_hours=0.5)) == ["source-fails"]
    batch.clock.pass_by(1)
    (alert,) = alerts(look(batch), Thresholds())
    assert alert.message == "archive-1, for 1 h: nobody answers"
