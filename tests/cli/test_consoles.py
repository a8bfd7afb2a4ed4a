from __future__ import annotations

import os
import subprocess
import sys

import pytest
from rich.table import Table

from medkit.cli.consoles import print_whole, table_console
from tests.batch.ledger.stories import Clock
from tests.batch.status.live import LiveBatch


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


@pytest.fixture
def unread():
    """The end of a pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_has_gone_ends_it_without_a_word(tmp_path, unread, options):
    batch = LiveBatch(tmp_path / "night", Clock(1_700_000_000.0))
    batch.deliver("a")
    batch.ledger.close()
    command = [sys.executable, "-m", "medkit", "batch", "history", str(batch.job.root), *options]
    ended = subprocess.run(command, stdout=unread, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (141, "")


TALKATIVE = """
import sys
import click
from medkit import cli

@click.command()
def talk():
    for _ in range(100):
        click.echo("x" * 100_000, err=sys.argv[1] == "errors")

cli._LazyGroup.get_command = lambda *_: talk
cli.main(["predict"])
"""


@pytest.mark.parametrize("where", ["output", "errors"])
def test_a_reader_may_go_in_the_midst(where):
    command = [sys.executable, "-c", TALKATIVE, where]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        read, other = program.stdout, program.stderr
        if where == "errors":
            read, other = other, read
        assert read.read(1) == b"x"
        read.close()
        said = other.read()
    assert (program.returncode, said) == (141, b"")
