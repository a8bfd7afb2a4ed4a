"""Where tables are printed."""

from __future__ import annotations

import os
import select
import sys
from io import UnsupportedOperation
from typing import TYPE_CHECKING, NoReturn, TextIO

from rich.console import Console

from medkit.errors import ExitCode

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["end_without_reader", "print_whole", "reader_has_gone", "table_console"]

_WIDTH = 120  # that of a table, so that names are whole in a file
_UNBOUNDED = 100_000


def reader_has_gone() -> bool:
    """Whether nobody can read what this program says any more, there or in its errors."""
    return any(map(_has_no_reader, (sys.stdout, sys.stderr)))


def end_without_reader() -> NoReturn:
    """End as other programs do when who read their output has gone: without a word, as if by SIGPIPE."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        if _has_no_reader(stream):
            os.dup2(nowhere, stream.fileno())  # or Python complains when it flushes
    raise SystemExit(ExitCode.NO_READER)


def _has_no_reader(stream: TextIO) -> bool:
    """Asked of the system: what could not be written may be forgotten, and flushing again then succeeds."""
    asked = select.poll()
    try:
        asked.register(stream.fileno(), 0)
    except UnsupportedOperation:  # what a Python program put in its place
        return False
    return bool(asked.poll(0))


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
