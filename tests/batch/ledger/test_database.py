from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing, suppress

import pytest

from medkit.batch.ledger import Ledger, LedgerError, LedgerView, Mode, Policy
from medkit.batch.ledger.database import SCHEMA_VERSION, open_database, transaction
from tests.batch.ledger.killing import Killed, killed_before
from tests.batch.ledger.stories import Clock, arrive


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "ledger.sqlite"


def test_what_is_committed_is_on_disk(path):
    connection = open_database(path, create=True)
    pragma = {
        name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    }
    assert pragma == {"journal_mode": "wal", "synchronous": 2}, "2 is FULL"
    assert connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1
    assert connection.execute("PRAGMA busy_timeout").fetchone()[0] >= 10_000
    connection.close()


def test_a_reader_makes_no_ledger(path):
    with pytest.raises(LedgerError, match="expected a ledger, got no such file"):
        LedgerView(path)
    assert not path.parent.exists()


def test_another_schema_version_is_refused_and_left_alone(path):
    Ledger(path, "a").close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(
        LedgerError, match=f"schema version {SCHEMA_VERSION}, got version {SCHEMA_VERSION + 1}"
    ):
        Ledger(path, "a")
    assert path.read_bytes() == before


@pytest.mark.parametrize("made_by", ["another program", "no program"])
def test_what_is_no_ledger_is_refused_and_left_alone(path, made_by):
    path.parent.mkdir()
    if made_by == "another program":
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE patients (name TEXT)")
    else:
        path.write_bytes(b"not a database" * 100)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=r"ledger\.sqlite: expected a ledger, got") as caught:
        Ledger(path, "a")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(LedgerError, match="expected a"):
        Ledger(tmp_path, "a")


def test_killed_at_any_statement_while_it_is_made_it_is_made_later(tmp_path, monkeypatch):
    number, finished = 0, False
    while not finished:
        folder = tmp_path / str(number)
        with killed_before(monkeypatch, number, folder / "kept") as watch:
            try:
                Ledger(folder / "ledger.sqlite", "a").close()
                finished = True
            except Killed:
                pass
        kept = folder / ("." if finished else "kept")
        with Ledger(kept / "ledger.sqlite", "b") as ledger:
            assert ledger.faults() == []
            assert arrive(ledger, "1") == 1
        number += 1
    assert number > 15
    assert watch.statements == number - 1


def test_one_that_was_begun_without_the_index_of_reasons_gets_it(path):
    with closing(open_database(path, create=True)) as connection:
        connection.execute("DROP INDEX by_reason")
    with closing(open_database(path, create=False)) as connection:
        (plan,) = connection.execute(
            "EXPLAIN QUERY PLAN SELECT state FROM revisions WHERE state = 'delivered' AND code = 'x'"
        )
    assert "USING COVERING INDEX by_reason" in plan["detail"]


def test_one_that_was_begun_without_a_mode_has_the_usual_one_and_may_change_it(path):
    with closing(open_database(path, create=True)) as connection:
        for statement in ("DROP TABLE mode", "DROP INDEX noted", "DROP INDEX results_by_uid"):
            connection.execute(statement)
    with Ledger(path, "a") as ledger:
        assert ledger.mode() == Mode()
        assert ledger.run_as(Mode(about="remove-dates 0123abcd"))
        assert ledger.made_into("2.25.1") == []
        assert ledger.noted_uids() == set()


def test_several_processes_make_it_together(path):
    code = (
        "import sys; from pathlib import Path; from medkit.batch.ledger import Ledger\n"
        "with Ledger(Path(sys.argv[1]), sys.argv[2]) as ledger: ledger.receive(sys.argv[2] * 64)"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(path), owner]) for owner in "abcdef"]
    assert [process.wait() for process in running] == [0] * 6
    with LedgerView(path) as view:
        assert len(view.studies()) == 6
        assert view.faults() == []


def test_the_journal_is_append_only(path):
    with Ledger(path, "a", Policy(), Clock()) as ledger:
        arrive(ledger, "1")
    connection = sqlite3.connect(path)
    for statement in ("UPDATE journal SET actor = 'b'", "DELETE FROM journal"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()


def test_a_transaction_is_whole_or_nothing(path):
    connection = open_database(path, create=True)

    def interrupted():
        with transaction(connection):
            connection.execute("INSERT INTO journal (at, actor, study, after) VALUES (0, 'a', 's', 'ready')")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert connection.execute("SELECT count(*) FROM journal").fetchone()[0] == 0
    with transaction(connection):
        connection.execute("INSERT INTO journal (at, actor, study, after) VALUES (0, 'a', 's', 'ready')")
    assert connection.execute("SELECT count(*) FROM journal").fetchone()[0] == 1
    connection.close()


def test_what_need_not_survive_a_power_cut_is_whole_and_the_next_is_on_disk_again(path):
    connection = open_database(path, create=True)
    connection.execute("CREATE TABLE numbers (number INTEGER)")
    levels = []

    def write(number: int) -> None:
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))
        levels.append(connection.execute("PRAGMA synchronous").fetchone()[0])

    with transaction(connection, synced=False):
        write(1)
    with suppress(KeyError), transaction(connection, synced=False):
        write(2)
        raise KeyError
    with transaction(connection):
        write(3)
    assert levels == [1, 1, 2], "NORMAL, NORMAL, FULL"
    assert [row[0] for row in connection.execute("SELECT number FROM numbers")] == [1, 3]
    connection.close()
