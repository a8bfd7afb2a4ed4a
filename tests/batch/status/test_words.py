from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from medkit.batch.status.words import duration

_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}


@given(st.floats(0, 1e8))
def test_a_span_is_said_to_a_part_in_24(seconds):
    words = duration(seconds).split()
    said = sum(float(number) * _SECONDS[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
    assert abs(said - seconds) <= max(0.051, seconds / 24 if seconds >= 3600 else 60 * (seconds >= 60))


def test_clocks_that_disagree_give_no_negative_span():
    assert duration(-3) == "0.0 s"
