from __future__ import annotations

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medkit.batch.status.hours import Hours

BERLIN = ZoneInfo("Europe/Berlin")
WEEK = Hours(frozenset(range(5)), time(7), time(19), BERLIN)
NIGHT = Hours(frozenset({4}), time(20), time(6), BERLIN)  # Friday's, until Saturday morning


def at(text, zone=BERLIN):
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("hours", "start", "end", "expected"),
    [
        (WEEK, "2026-11-20 18:00", "2026-11-23 08:00", 2),  # Friday evening to Monday morning
        (WEEK, "2026-11-21 00:00", "2026-11-22 23:59", 0),
        (WEEK, "2026-11-23 09:00", "2026-11-23 09:30", 0.5),
        (WEEK, "2026-11-23 00:00", "2026-11-30 00:00", 60),
        (NIGHT, "2026-11-20 00:00", "2026-11-27 00:00", 10),
        (NIGHT, "2026-11-21 05:00", "2026-11-21 23:00", 1),
        (NIGHT, "2026-11-22 05:00", "2026-11-22 06:00", 0),
        (Hours(zone=BERLIN), "2026-03-28 00:00", "2026-03-30 00:00", 47),  # the clock goes forward
        (NIGHT, "2026-03-27 12:00", "2026-03-28 12:00", 10),
    ],
)
def test_hours_are_those_of_the_wall(hours, start, end, expected):
    assert hours.seconds_between(at(start), at(end)) == expected * 3600


@given(st.floats(0, 2e9), st.floats(0, 1e7))
def test_all_day_every_day_is_all_the_time(start, seconds):
    assert Hours(zone=UTC).seconds_between(start, start + seconds) == pytest.approx(seconds, abs=1e-3)


@given(
    st.frozensets(st.integers(0, 6)), st.times(), st.times(), st.floats(1e9, 2e9), st.floats(0, 1e6),
    st.floats(0, 1e6),
)  # fmt: skip
def test_spans_add_up(days, begin, end, start, first, second):
    hours = Hours(days, begin.replace(microsecond=0), end.replace(microsecond=0), UTC)
    middle, stop = start + first, start + first + second
    parts = hours.seconds_between(start, middle) + hours.seconds_between(middle, stop)
    assert hours.seconds_between(start, stop) == pytest.approx(parts, abs=1e-2)


def test_nothing_is_no_time():
    assert Hours(zone=UTC).seconds_between(5000.0, 5000.0) == 0
    assert Hours(zone=UTC).seconds_between(6000.0, 5000.0) == 0
