from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medkit.batch.hours import Hours, is_open, parse_hours
from medkit.errors import UsageError

BERLIN = ZoneInfo("Europe/Berlin")
WEEK = Hours(frozenset(range(5)), time(7), time(19), BERLIN)
MONDAY = datetime(2026, 1, 5, tzinfo=BERLIN)
NIGHT = Hours(frozenset({4}), time(20), time(6), BERLIN)  # Friday's, until Saturday morning


def at(text, zone=BERLIN):
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@given(st.sets(st.integers(0, 6), min_size=1), st.integers(0, 24 * 60 - 1), st.integers(1, 24 * 60 - 1))
def test_hours_are_written_as_they_are_read(days, begin, length):
    end = (begin + length) % (24 * 60)
    hours = Hours(frozenset(days), time(*divmod(begin, 60)), time(*divmod(end, 60)))
    assert parse_hours(str(hours)) == hours
    assert parse_hours(str(Hours())) == Hours()


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


def on(day, clock):
    hours, minutes = map(int, clock.split(":"))
    return (MONDAY + timedelta(days=day, hours=hours, minutes=minutes)).timestamp()


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("20:00-06:00", [(0, "20:00"), (0, "05:59"), (6, "23:59")], [(0, "06:00"), (3, "19:59")]),
        ("08:00-12:30", [(0, "08:00"), (5, "12:29")], [(0, "07:59"), (5, "12:30")]),
        ("mon-fri 20:00-06:00", [(0, "20:00"), (5, "05:59")], [(0, "05:59"), (5, "20:00"), (6, "03:00")]),
        ("sat,sun 00:00-24:00", [(5, "00:00"), (6, "23:59")], [(4, "23:59"), (0, "00:00")]),
        ("FRI-MON 12:00-13:00", [(4, "12:00"), (0, "12:59")], [(1, "12:00"), (3, "12:00")]),
        ("sun 22:00-02:00", [(6, "22:00"), (0, "01:59")], [(0, "22:00"), (6, "01:00")]),
    ],
)
def test_moments_in_and_out_of_hours(text, inside, outside):
    hours = parse_hours(text, BERLIN)
    assert all(on(*moment) in hours for moment in inside)
    assert not any(on(*moment) in hours for moment in outside)


@given(
    st.integers(0, 23),
    st.integers(0, 59),
    st.integers(0, 23),
    st.integers(0, 59),
    st.integers(0, 7 * 1440 - 1),
)
def test_hours_are_open_as_long_as_they_say(hour, minute, last_hour, last_minute, moment):
    begin, end = hour * 60 + minute, last_hour * 60 + last_minute
    if begin == end:
        return
    hours = parse_hours(f"{hour:02}:{minute:02}-{last_hour:02}:{last_minute:02}", BERLIN)
    expected = (moment - begin) % 1440 < (end - begin) % 1440
    assert ((MONDAY + timedelta(minutes=moment)).timestamp() in hours) is expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20:00",
        "20-6",
        "24:00-06:00",
        "20:00-20:00",
        "25:00-06:00",
        "20:60-21:00",
        "20:00-24:01",
        "day 20:00-21:00",
        "mon- 20:00-21:00",
        "mon-fri-sun 20:00-21:00",
        "mon,,tue 20:00-21:00",
        "20:00-06:00 mon",
    ],
)
def test_what_are_no_hours_is_a_wrong_call(text):
    with pytest.raises(UsageError, match=r"expected hours such as 20:00-06:00"):
        parse_hours(text)


def test_without_hours_it_is_always_open():
    assert is_open([], MONDAY.timestamp())
    assert not is_open([parse_hours("20:00-06:00", BERLIN)], on(0, "12:00"))
    assert is_open([parse_hours("20:00-06:00", BERLIN), parse_hours("11:00-13:00", BERLIN)], on(0, "12:00"))


@given(st.frozensets(st.integers(0, 6)), st.times(), st.times(), st.integers(0, 14 * 86400))
def test_a_moment_belongs_to_hours_that_have_time_then(days, begin, end, seconds):
    hours = Hours(days, begin.replace(microsecond=0), end.replace(microsecond=0), BERLIN)
    moment = MONDAY.timestamp() + seconds
    assert (moment in hours) is (hours.seconds_between(moment, moment + 1) == 1)


def test_without_a_zone_they_are_those_of_the_machine():
    hours = parse_hours("mon 08:00-24:00")
    assert hours.zone is None
    assert datetime(2026, 1, 5, 8).timestamp() in hours
    assert datetime(2026, 1, 5, 7, 59).timestamp() not in hours
    assert datetime(2026, 1, 6).timestamp() not in hours
