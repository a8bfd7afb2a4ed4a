"""Tables say what was measured."""

from __future__ import annotations

from collections import Counter

from batch_soak import Reading, Slope
from batch_tables import (
    count_table,
    fault_table,
    scaling_table,
    share_table,
    slope_table,
    throughput_table,
    time_table,
)

ROWS = {
    "loop": {"studies": 12, "hour": 500.0, "load": 3.96},
    "medkit": {
        "studies": 40,
        "hour": 5500.0,
        "startup": 6.04,
        "cores": 1.5,
        "cpu": 0.98,
        "load": 4.0,
        "parts": {"reading": 0.1, "inference": 0.2, "writing": 0.3, "sending": 0.4},
    },
    "other": {"studies": 40, "hour": 250.0, "parts": {"reading": 1.0, "inference": 2.0, "writing": 1.0}},
}


def lines(text):
    return text.splitlines()[2:]


def test_every_way_stands_beside_the_loop():
    assert lines(throughput_table(ROWS, "loop")) == [
        "| loop | 12 | - | 500 | 1.0 | - | - | 4.0 |",
        "| medkit | 40 | 6.0 | 5500 | 11.0 | 0.98 | 1.50 | 4.0 |",
        "| other | 40 | - | 250 | 0.5 | - | - | - |",
    ]


def test_shares_are_of_the_sum():
    assert lines(share_table(ROWS)) == [
        "| medkit | 0.10 (10%) | 0.20 (20%) | 0.30 (30%) | 0.40 (40%) |",
        "| other | 1.00 (25%) | 2.00 (50%) | 1.00 (25%) | - |",
    ]


def test_scaling_is_beside_one_worker():
    one = {"workers": 1, "hour": 1000.0, "cpu": 0.9, "cores": 1.0}
    four = {"workers": 4, "hour": 3000.0, "cpu": 1.0, "cores": 3.5}
    assert lines(scaling_table([four, one])) == [
        "| 1 | 1000 | 1.00 | 1.00 | 1.00 |",
        "| 4 | 3000 | 0.75 | 3.50 | 0.90 |",
    ]


def test_faults_and_counts():
    assert lines(fault_table({"lost": ["study 1", "study 2"], "doubled": []})) == [
        "| lost | 2 | study 1 |",
        "| doubled | 0 | - |",
    ]
    counts = Counter({("refused", "gap"): 2, ("delivered", None): 190})
    assert lines(count_table("end", counts)) == ["| delivered | 190 |", "| refused, gap | 2 |"]


def test_growth_and_memory_over_time():
    readings = [
        Reading(
            60.0 * n, 10 * n, {"service": 90.0 + n}, {"service": 20 + n}, {"service": 5}, {"ledger": 0.5 * n}
        )
        for n in range(30)
    ]
    slopes = {"service": Slope(100.0, 99.0, 101.0)}
    assert lines(slope_table(slopes, slopes | {"workers, mean": Slope(0.0, -1.0, 1.0)}, readings)) == [
        "| service | +100.00 (+99.00 to +101.00) | grows | 119 | 27 to 49, 49 at the end | 5 to 5, 5 at the end |",
        "| workers, mean | +0.00 (-1.00 to +1.00) | flat |  |  |  |",
    ]
    (line,) = lines(slope_table(slopes, {}, readings))
    assert "grows" not in line
    shown = lines(time_table(readings, rows=10))
    assert shown[0] == "| 0.0 | 0 | 90 | 0.0 |"
    assert shown[-1] == "| 29.0 | 290 | 119 | 14.5 |"
    assert len(shown) == 11
