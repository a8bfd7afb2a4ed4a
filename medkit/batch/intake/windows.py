"""Times of the week in which an archive may be asked for studies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

__all__ = ["Window", "is_open", "parse_window"]

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FORM = re.compile(r"(?:(?P<days>[a-z,-]+) +)?(?P<begin>\d\d:\d\d)-(?P<end>\d\d:\d\d)")
_DAY_MINUTES = 24 * 60


@dataclass(frozen=True)
class Window:
    """A time of day on some days, by the clock on the wall.

    Args:
        days: on which it begins, from 0 for Monday.
        begin: minutes after midnight.
        end: minutes after midnight, itself outside; not after ``begin``: of the next day.
    """

    days: frozenset[int]
    begin: int
    end: int

    def __contains__(self, moment: datetime) -> bool:
        day, minute = moment.weekday(), moment.hour * 60 + moment.minute
        if self.begin < self.end:
            return day in self.days and self.begin <= minute < self.end
        yesterday = (day - 1) % len(_DAYS)
        return (day in self.days and minute >= self.begin) or (yesterday in self.days and minute < self.end)


def parse_window(text: str) -> Window:
    """A window from ``20:00-06:00`` (every day), ``mon-fri 20:00-06:00`` or ``sat,sun 00:00-24:00``.

    One that goes over midnight belongs to the day on which it begins.

    Raises:
        UsageError: the text is none.
    """
    form = _FORM.fullmatch(text.strip().lower())
    days = _days(form["days"]) if form else None
    begin, end = (_minutes(form["begin"]), _minutes(form["end"])) if form else (None, None)
    if not days or begin is None or end is None or begin in (_DAY_MINUTES, end):
        raise UsageError(
            f"expected a window such as 20:00-06:00, mon-fri 20:00-06:00 or sat,sun 00:00-24:00, got {text!r}"
        )
    return Window(days, begin, end)


def is_open(windows: Sequence[Window], moment: datetime) -> bool:
    """Whether a moment of local time lies in one of the windows; where there are none, always."""
    return not windows or any(moment in window for window in windows)


def _days(text: str | None) -> frozenset[int]:
    """The days named; none where one of them is no day."""
    found: set[int] = set()
    for part in (text or "mon-sun").split(","):
        first, _, last = part.partition("-")
        last = last or first
        if first not in _DAYS or last not in _DAYS or (part.endswith("-")):
            return frozenset()
        begin, count = _DAYS.index(first), (_DAYS.index(last) - _DAYS.index(first)) % len(_DAYS)
        found.update((begin + step) % len(_DAYS) for step in range(count + 1))
    return frozenset(found)


def _minutes(text: str) -> int | None:
    hours, minutes = (int(part) for part in text.split(":"))
    found = hours * 60 + minutes
    return found if minutes < 60 and found <= _DAY_MINUTES else None
