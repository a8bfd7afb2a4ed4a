"""Memory that grows is told from memory that moves about."""

from __future__ import annotations

import random

import pytest
from batch_soak import Reading, Slope, Soak, mean_slope, sizes_of, slope_of

from medkit.batch.folder import JobFolder


def readings(memory, count: int = 400, studies: int = 2000, process: str = "worker 1"):
    """Of one process, whose memory in MiB follows from the studies that have ended."""
    chance = random.Random(1)
    return [
        Reading(
            2.0 * n,
            ended := studies * n // count,
            {process: memory(ended, chance)},
            {process: 9},
            {process: 4},
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


def slopes(*means: float) -> list[Slope]:
    return [Slope(mean, mean - 0.1, mean + 0.1) for mean in means]


def test_a_worker_that_keeps_what_it_freed_is_no_growth_of_all_and_a_leak_in_each_is():
    assert mean_slope(slopes(4.0)) == slopes(4.0)[0]
    assert not mean_slope(slopes(-0.4, -0.6, 4.2, -0.9)).grows
    leak = mean_slope(slopes(3.1, 2.0, 2.6, 4.2))
    assert leak.grows
    assert leak.mean == pytest.approx(2.975)
    assert leak.high - leak.mean == pytest.approx(leak.mean - leak.low) == pytest.approx(1.4835, abs=1e-3)


def test_the_service_counts_by_itself():
    parts = {"service": leaking, "worker 1": restless, "worker 2": restless}
    seen = [
        Reading(one[0].seconds, one[0].ended, {k: v for r in one for k, v in r.rss.items()}, {}, {})
        for one in zip(*(readings(memory, process=name) for name, memory in parts.items()), strict=True)
    ]
    judged = Soak(2000, 800.0, seen, 2000, 1900).judged
    assert {name: slope.grows for name, slope in judged.items()} == {"service": True, "workers, mean": False}


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
