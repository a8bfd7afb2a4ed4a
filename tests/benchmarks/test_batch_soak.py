"""Memory that grows is told from memory that moves about."""

from __future__ import annotations

import random

from batch_soak import Reading, Soak, sizes_of, slope_of

from medkit.batch.folder import JobFolder


def readings(memory, count: int = 400, studies: int = 2000):
    """Of one process, whose memory in MiB follows from the studies that have ended."""
    chance = random.Random(1)
    return [
        Reading(
            2.0 * n,
            ended := studies * n // count,
            {"worker 1": memory(ended, chance)},
            {"worker 1": 9},
            {"worker 1": 4},
        )
        for n in range(count + 1)
    ]


def restless(ended, chance):
    """As an allocator gives memory back and takes it again."""
    return 900 + 200 * (ended < 300) * ended / 300 + chance.uniform(-15, 15)


def leaking(ended, chance):
    return restless(ended, chance) + 0.02 * ended


def test_memory_that_only_moves_about_is_flat():
    slope = slope_of(readings(restless), "worker 1", 500)
    assert slope.low < 0 < slope.high
    assert not slope.grows


def test_a_leak_is_found_with_its_size():
    slope = slope_of(readings(leaking), "worker 1", 500)
    assert slope.grows
    assert slope.low < 20 < slope.high
    assert abs(slope.mean - 20) < 5


def test_growth_while_it_warms_up_does_not_count():
    assert slope_of(readings(restless), "worker 1", 0).mean < 0
    seen = readings(lambda ended, chance: min(ended, 400) + chance.uniform(-1, 1))
    assert slope_of(seen, "worker 1", 0).grows
    assert not slope_of(seen, "worker 1", 500).grows


def test_too_few_readings_say_nothing():
    slope = slope_of(readings(leaking)[-2:], "worker 1", 500)
    assert (slope.low, slope.high) == (float("-inf"), float("inf"))
    assert not slope.grows


def test_a_soak_is_good_where_all_is_delivered_and_nothing_grows():
    flat, grown = readings(restless), readings(leaking)
    assert Soak(2000, 800.0, flat, 2000, 1900).good
    assert not Soak(2000, 800.0, flat, 1999, 1900).good
    assert not Soak(2000, 800.0, grown, 2000, 1900).good


def test_sizes_are_those_of_the_parts(tmp_path):
    job = JobFolder(tmp_path)
    for path, size in (
        (job.ledger, 1),
        (job.ledger.with_name(f"{job.ledger.name}-wal"), 2),
        (job.spool / "studies" / "a" / "b.dcm", 4),
        (tmp_path / "other", 8),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size << 20))
    assert sizes_of(job) == {"ledger": 3, "spool": 4, "results": 0, "audit": 0, "sources": 0}
