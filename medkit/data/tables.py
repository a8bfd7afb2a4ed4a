"""Tables as comma-separated values."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["csv_text"]


def csv_text(header: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A table as text that a file in UTF-8 can hold, whatever bytes a file's name was made of.

    Fields are quoted where they need it (RFC 4180, section 2), and lines end with a line feed. A byte that is no UTF-8,
    which is a lone surrogate in Python, becomes its escape.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace").decode("utf-8")
