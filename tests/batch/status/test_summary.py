from __future__ import annotations

import shutil
from collections import namedtuple

from medkit.batch.ledger import Stage, State, Waiting
from medkit.batch.notices import Kind, Notices
from medkit.batch.status.service_record import ServiceRecord
from medkit.batch.status.summary import LISTED, TROUBLED, Flow, summarise
from tests.batch.status.live import STATES, study

Usage = namedtuple("Usage", "total used free")


def look(batch, free=1 << 40):
    return summarise(batch.ledger, batch.clock.now, lambda path: Usage(2 << 40, 0, free))


def test_an_empty_batch(batch):
    summary = look(batch)
    assert set(summary.counts.values()) == {0}
    assert summary.arrivals == summary.deliveries == Flow(None, 0, 0)
    waits = (summary.receiving, summary.making, summary.delivering, summary.silent, summary.withdrawals)
    assert set(waits) == {Waiting(0, None)}
    assert (summary.timings, summary.reasons, summary.troubled, summary.latest) == ({}, (), (), ())
    assert (summary.free_bytes, summary.total_bytes) == (1 << 40, 2 << 40)


def test_a_study_in_each_state(batch):
    start = batch.clock.now
    batch.one_of_each()
    summary = look(batch)
    assert summary.counts == dict.fromkeys(STATES, 1)
    assert summary.arrivals == Flow(start + 9, 10, 10)
    assert summary.deliveries.last_hour == 1
    assert (summary.receiving.count, summary.making.count, summary.delivering.count) == (1, 3, 2)
    assert [one.state for one in summary.troubled] == list(TROUBLED)
    assert len(summary.latest) == 10
    assert summary.latest[0].state is State.RECEIVING, "the newest first"
    assert {one.code for one in summary.reasons} == {"tilt", "no-rule", "out-of-memory", "worker-died"}
    assert summary.timings["inference"].longest_seconds == 12


def test_rates_are_of_the_last_hour_and_day(batch):
    batch.deliver("one")
    batch.clock.pass_by(3600 * 2)
    batch.deliver("two")
    batch.clock.pass_by(60)
    assert look(batch).deliveries == Flow(batch.clock.now - 60, 1, 2)
    batch.clock.pass_by(3600 * 23)
    assert look(batch).deliveries == Flow(batch.clock.now - 60 - 3600 * 23, 0, 1)


def test_lists_are_bounded_and_counts_whole(batch):
    for number in range(LISTED + 5):
        batch.arrive(f"r{number}")
        batch.give_up(f"r{number}")
        batch.clock.pass_by(1)
    summary = look(batch)
    assert summary.counts[State.QUARANTINED] == LISTED + 5
    assert [one.study for one in summary.troubled] == [
        study(f"r{number}") for number in range(LISTED + 4, 4, -1)
    ]
    assert summary.latest == summary.troubled
    assert summary.reasons[0].count == LISTED + 5


def test_an_earlier_result_that_must_go_waits(batch):
    batch.deliver("a")
    batch.ledger.receive(study("a"))
    (arrival,) = batch.ledger.arrivals()
    batch.ledger.complete(arrival, "f" * 64, 2)
    batch.clock.pass_by(5)
    batch.ledger.refuse(batch.ledger.claim(Stage.MAKE), "rejected", "a rejection note came")
    assert look(batch).withdrawals == Waiting(1, batch.clock.now)


def test_the_disk_is_that_of_the_folder(batch):
    summary = summarise(batch.ledger, batch.clock.now)
    assert summary.total_bytes == shutil.disk_usage(batch.job.root).total


def test_what_a_killed_service_said_of_its_parts_is_not_told(batch):
    Notices(batch.job.notices, batch.clock).put(Kind.SOURCE, "archive-1", "tls-failed", "expired")
    ServiceRecord(began=batch.clock.now).write(batch.job)
    assert [notice.part for notice in look(batch).notices] == ["archive-1"]
    batch.service.release()  # as a kill leaves it
    assert look(batch).notices == ()


def test_what_is_refused_in_part_is_among_what_is_refused(batch):
    batch.deliver("one", refused="the left of two")
    batch.clock.pass_by(1)
    batch.bring(State.REFUSED)
    batch.clock.pass_by(1)
    batch.deliver("two", refused="the right of two")
    batch.clock.pass_by(1)
    batch.deliver("three")
    batch.make("four", refused="the left of two")
    summary = look(batch)
    told = [study(name) for name in ("four", "two", State.REFUSED, "one")]
    assert [one.study for one in summary.troubled] == told
    assert (summary.reasons[0].code, summary.reasons[0].state, summary.reasons[0].count) == (
        "partly-refused",
        State.DELIVERED,
        2,
    )
