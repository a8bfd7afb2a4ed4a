from __future__ import annotations

import pytest

from medkit.cli.consoles import table_console


@pytest.mark.parametrize(("columns", "width"), [("40", 120), ("200", 200)])
def test_tables_are_at_least_120_wide_and_as_wide_as_a_terminal(monkeypatch, columns, width):
    monkeypatch.setenv("COLUMNS", columns)
    assert table_console().width == width
