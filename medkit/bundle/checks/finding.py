"""What a check has to say."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding", "Note"]


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Args:
        check: what was looked at, with a remark where the bundle lacks an optional part.
        problem: one line that names file and key and says what to do, or ``None`` where all is well.
    """

    check: str
    problem: str | None = None


@dataclass(frozen=True)
class Note:
    """A remark that a check makes beside its problems."""

    text: str
