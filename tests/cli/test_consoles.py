from __future__ import annotations

import pytest
from rich.table import Table

from medkit.cli.consoles import print_whole, table_console


@pytest.mark.parametrize(("columns", "width"), [("40", 120), ("200", 200)])
def test_tables_are_at_least_120_wide_and_as_wide_as_a_terminal(monkeypatch, columns, width):
    monkeypatch.setenv("COLUMNS", columns)
    assert table_console().width == width


@pytest.mark.parametrize("terminal", [False, True])
def test_nothing_of_a_table_is_cut_off(monkeypatch, capsys, terminal):
    monkeypatch.setenv("COLUMNS", "100")
    if terminal:
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
    table = Table("one", "other")
    table.add_row("X" * 150, "Y" * 150)
    print_whole(table)
    out = capsys.readouterr().out
    assert (out.count("X"), out.count("Y"), "…" in out) == (150, 150, False)
    assert ("X" * 150 in out) is not terminal
