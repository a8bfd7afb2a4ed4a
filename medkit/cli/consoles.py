"""Where tables are printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["print_whole", "table_console"]

_WIDTH = 120  # that of a table, so that names are whole in a file
_UNBOUNDED = 100_000


def table_console() -> Console:
    """Standard output, wide enough for tables where it is no terminal."""
    return Console(width=max(Console().width, _WIDTH), highlight=False)


def print_whole(table: Table) -> None:
    """Print a table with nothing cut off: as wide as it is where there is no terminal, and folded in one."""
    for column in table.columns:
        column.overflow = "fold"
    console = table_console()
    if not console.is_terminal:
        unbounded = console.options.update(max_width=_UNBOUNDED)
        console.width = max(console.width, console.measure(table, options=unbounded).maximum)
    console.print(table)
