"""Spans of time and sizes as a person says them."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

__all__ = ["duration", "moment", "size"]

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def duration(seconds: float) -> str:
    """A span of time in its two largest units.

    >>> duration(4.26), duration(59.9), duration(200), duration(7260), duration(200000)
    ('4.3 s', '59.9 s', '3 min', '2 h 1 min', '2 d 7 h')
    """
    if seconds < _UNITS[-1][0]:
        return f"{max(seconds, 0.0):.1f} s"
    for (unit, name), (smaller, other) in pairwise(_UNITS):
        if seconds >= unit:
            rest = int(seconds % unit // smaller)
            return f"{int(seconds // unit)} {name}" + (f" {rest} {other}" if rest else "")
    return f"{int(seconds // _UNITS[-1][0])} {_UNITS[-1][1]}"


def moment(seconds: float) -> str:
    """A time since 1970 as ISO 8601, UTC, to the second.

    >>> moment(0)
    '1970-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def size(count: float) -> str:
    """A number of bytes.

    >>> size(12), size(3 << 30), size(3 << 40)
    ('0.0 GiB', '3.0 GiB', '3072.0 GiB')
    """
    return f"{count / (1 << 30):.1f} GiB"
