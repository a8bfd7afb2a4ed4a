"""The process of a worker, from its first line to its last; it is forked, since it closes what it prints to."""

from __future__ import annotations

import json
from multiprocessing import get_context

import pytest
import torch  # noqa: F401  (once here, and not in each process)

from medkit.batch.folder import JobFolder
from medkit.batch.ledger import LedgerError
from medkit.batch.logs import LogSettings
from medkit.batch.service import process as module
from medkit.batch.service.process import Word, hands_folder, work
from medkit.batch.service.settings import Settings
from medkit.errors import UsageError

PATIENCE = 60.0


class Hired:
    """A worker that is in a process."""

    def __init__(self, folder) -> None:
        self.settings = Settings(job=JobFolder(folder / "job"), rules=(), device="cpu")
        self.log = folder / "log"

    def begin(self):
        """Let it work; what it says by its pipe, and its exit code."""
        processes = get_context("fork")
        heard, said = processes.Pipe(duplex=False)
        logs = LogSettings("json", self.log)
        process = processes.Process(target=work, args=(self.settings, 1, logs, said))
        process.start()
        said.close()
        assert heard.poll(PATIENCE)
        told = []
        while True:
            try:
                told.append(heard.recv())
            except EOFError:
                break
        process.join(PATIENCE)
        return told, process.exitcode

    def lines(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def hired(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # PyTorch's threads, which a fork loses, are left alone
    (tmp_path / "job").mkdir()
    return Hired(tmp_path)


@pytest.mark.parametrize(
    ("error", "word", "text", "code"),
    [
        (UsageError("no bundle 'x'"), Word.WRONG, "no bundle 'x'", 2),
        (LedgerError("ledger: disk I/O error"), Word.ENDING, "ledger: disk I/O error", 2),
        (RuntimeError("Doe^Jane"), Word.ENDING, "it could not begin: RuntimeError", 4),
    ],
)
def test_what_keeps_it_from_beginning_is_told_and_logged(hired, monkeypatch, error, word, text, code):
    def open_worker(*_):
        raise error

    monkeypatch.setattr(module, "_open_worker", open_worker)
    assert hired.begin() == ([(word, text)], code)
    (line,) = hired.lines()
    assert text in line["message"] or line["error"] == "RuntimeError"
    assert "Doe" not in hired.log.read_text()
    assert list(hands_folder(hired.settings).iterdir()) == []


def test_one_that_ends_when_asked_says_that_it_was_ready_and_no_more(hired, monkeypatch):
    class Worker:
        def prepare(self):
            return

        def run(self):
            return

    monkeypatch.setattr(module, "_open_worker", lambda *_: Worker())
    assert hired.begin() == ([(Word.READY, None)], 0)
    assert [line["message"] for line in hired.lines()] == ["ready", "ended"]
