"""Where tables are printed."""

from __future__ import annotations

from rich.console import Console

__all__ = ["table_console"]

_WIDTH = 120  # that of a table, so that names are whole in a file


def table_console() -> Console:
    """Standard output, wide enough for tables where it is no terminal."""
    return Console(width=max(Console().width, _WIDTH), highlight=False)
