from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medkit.batch.intake.windows import is_open, parse_window
from medkit.errors import UsageError

MONDAY = datetime(2026, 1, 5)


def at(day, time):
    hours, minutes = map(int, time.split(":"))
    return MONDAY + timedelta(days=day, hours=hours, minutes=minutes)


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
def test_moments_in_and_out_of_a_window(text, inside, outside):
    window = parse_window(text)
    assert all(at(*moment) in window for moment in inside)
    assert not any(at(*moment) in window for moment in outside)


@given(
    st.integers(0, 23),
    st.integers(0, 59),
    st.integers(0, 23),
    st.integers(0, 59),
    st.integers(0, 7 * 1440 - 1),
)
def test_a_window_is_open_as_long_as_it_says(hour, minute, last_hour, last_minute, moment):
    begin, end = hour * 60 + minute, last_hour * 60 + last_minute
    if begin == end:
        return
    window = parse_window(f"{hour:02}:{minute:02}-{last_hour:02}:{last_minute:02}")
    expected = (moment - begin) % 1440 < (end - begin) % 1440
    assert (MONDAY + timedelta(minutes=moment) in window) is expected


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
def test_what_is_no_window_is_a_wrong_call(text):
    with pytest.raises(UsageError, match=r"expected a window such as 20:00-06:00"):
        parse_window(text)


def test_without_windows_it_is_always_open():
    assert is_open([], MONDAY)
    assert not is_open([parse_window("20:00-06:00")], at(0, "12:00"))
    assert is_open([parse_window("20:00-06:00"), parse_window("11:00-13:00")], at(0, "12:00"))
