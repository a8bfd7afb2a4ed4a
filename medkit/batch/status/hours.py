"""Times at which something is expected, so that a quiet Sunday is no alarm."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import tzinfo

__all__ = ["Hours"]

_EVERY_DAY = frozenset(range(7))


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
