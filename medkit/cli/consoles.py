"""Where tables are printed."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["end_without_reader", "print_whole", "table_console"]

_WIDTH = 120  # that of a table, so that names are whole in a file
_UNBOUNDED = 100_000


def end_without_reader() -> NoReturn:
    """End as other programs do when who read their output has gone: without a word, as if by SIGPIPE."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes
    raise SystemExit(128 + signal.SIGPIPE)


class _PipedConsole(Console):
    def on_broken_pipe(self) -> None:
        end_without_reader()


def table_console() -> Console:
    """Standard output, wide enough for tables where it is no terminal."""
    return _PipedConsole(width=max(Console().width, _WIDTH), highlight=False)


def print_whole(table: Table) -> None:
    """Print a table with nothing cut off: as wide as it is where there is no terminal, and folded in one."""
    for column in table.columns:
        column.overflow = "fold"
    console = table_console()
    if not console.is_terminal:
        unbounded = console.options.update(max_width=_UNBOUNDED)
        console.width = max(console.width, console.measure(table, options=unbounded).maximum)
    console.print(table)
