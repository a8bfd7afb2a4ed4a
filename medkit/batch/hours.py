"""Times of the week: in which an archive may be asked, and in which something is expected to come."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING

from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

__all__ = ["Hours", "is_open", "parse_hours"]

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EVERY_DAY = frozenset(range(len(_DAYS)))
_FORM = re.compile(r"(?:(?P<days>[a-z,-]+) +)?(?P<begin>\d\d:\d\d)-(?P<end>\d\d:\d\d)")
_END_OF_DAY = "24:00"


@dataclass(frozen=True)
class Hours:
    """A time of the day on some days of the week, by the clock on the wall.

    Args:
        days: of the week, Monday is 0.
        begin: from then on.
        end: until then; not after ``begin``: it goes past midnight and belongs to the day on which it begins, and where
            both are the same it takes the whole day.
        zone: of the clock, the machine's by default.
    """

    days: frozenset[int] = _EVERY_DAY
    begin: time = time(0)
    end: time = time(0)
    zone: tzinfo | None = None

    def __str__(self) -> str:
        """As :func:`parse_hours` reads it; of the zone it says nothing.

        >>> str(parse_hours("mon-wed 20:00-24:00"))
        'mon,tue,wed 20:00-24:00'
        """
        days = ",".join(_DAYS[day] for day in sorted(self.days))
        end = f"{self.end:%H:%M}" if self.end != time() else _END_OF_DAY
        return f"{days} {self.begin:%H:%M}-{end}"

    def __contains__(self, moment: float) -> bool:
        """Whether a moment, seconds since 1970 (UTC), belongs to these hours."""
        wall = datetime.fromtimestamp(moment, self.zone)
        today, now = wall.weekday(), wall.time()
        if self.begin < self.end:
            return today in self.days and self.begin <= now < self.end
        yesterday = (today - 1) % len(_DAYS)
        return (today in self.days and now >= self.begin) or (yesterday in self.days and now < self.end)

    def seconds_between(self, start: float, end: float) -> float:
        """How many seconds from ``start`` to ``end``, both since 1970 (UTC), belong to these hours."""
        day = datetime.fromtimestamp(start, self.zone).date() - timedelta(
            days=1
        )  # which may go past midnight
        last = datetime.fromtimestamp(end, self.zone).date()
        total = 0.0
        while day <= last:
            if day.weekday() in self.days:
                until = day + timedelta(days=self.end <= self.begin)
                begins = datetime.combine(day, self.begin, self.zone).timestamp()
                ends = datetime.combine(until, self.end, self.zone).timestamp()
                total += max(0.0, min(end, ends) - max(start, begins))
            day += timedelta(days=1)
        return total


def parse_hours(text: str, zone: tzinfo | None = None) -> Hours:
    """Hours from ``20:00-06:00`` (every day), ``mon-fri 20:00-06:00`` or ``sat,sun 00:00-24:00``.

    Those that go over midnight belong to the day on which they begin.

    Args:
        text: as above.
        zone: of the clock, the machine's by default.

    Raises:
        UsageError: the text is none.
    """
    form = _FORM.fullmatch(text.strip().lower())
    if form and form["begin"] not in (form["end"], _END_OF_DAY):
        days, begin, end = _days(form["days"]), _time(form["begin"]), _time(form["end"])
        if days and begin is not None and end is not None:
            return Hours(days, begin, end, zone)
    raise UsageError(
        f"expected hours such as 20:00-06:00, mon-fri 20:00-06:00 or sat,sun 00:00-24:00, got {text!r}"
    )


def is_open(hours: Sequence[Hours], moment: float) -> bool:
    """Whether a moment, seconds since 1970, lies in some of the hours; where there are none, always."""
    return not hours or any(moment in one for one in hours)


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


def _time(text: str) -> time | None:
    """A time of the day, midnight at its end too; ``None`` where it is none."""
    try:
        return time() if text == _END_OF_DAY else time.fromisoformat(text)
    except ValueError:
        return None
