from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from threading import Thread

import psutil
import pytest

from medkit.batch.identity import hash_uid
from medkit.batch.ledger import Claim, Stage
from medkit.batch.service.flights import Flight, FlightBoard, read_hands

# A worker that is killed while it writes down what it has.
WRITES_HALF = """
import os, signal, sys
from pathlib import Path
from medkit.batch.service.flights import FlightBoard

board = FlightBoard(Path(sys.argv[1]), "worker-2")
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
board.stop()
"""


def claim(name="a", stage=Stage.MAKE, attempt=1):
    return Claim(hash_uid(name), 1, "d" * 64, stage, attempt, 1, 1000.0)


@pytest.fixture
def board(tmp_path):
    return FlightBoard(tmp_path / "workers", "worker-1", clock=lambda: 5.0)


def test_what_is_in_hand_can_be_read_by_others(board, tmp_path):
    board.note(claim("a"), "read")
    board.note(claim("b", Stage.DELIVER), "deliver")
    board.note(claim("a"), None)
    (hands,) = read_hands(tmp_path / "workers")
    assert hands.flights == (
        Flight(claim("a"), None, 5.0),
        Flight(claim("b", Stage.DELIVER), "deliver", 5.0),
    )
    assert (hands.owner, hands.pid, hands.stopping) == ("worker-1", os.getpid(), False)
    assert hands.alive
    board.drop(claim("a"))
    board.stop()
    (hands,) = read_hands(tmp_path / "workers")
    assert [flight.claim.study for flight in hands.flights] == [hash_uid("b")]
    assert hands.stopping
    board.close()
    assert read_hands(tmp_path / "workers") == []


def test_a_process_that_is_gone_or_another_one_is_not_alive(board, tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    content = json.loads(board.path.read_text())
    for changed in ({"pid": gone.pid}, {"started": psutil.Process().create_time() - 100}):
        board.path.write_text(json.dumps(content | changed))
        (hands,) = read_hands(tmp_path / "workers")
        assert not hands.alive


def test_a_process_that_is_not_yet_buried_is_not_alive(board, tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = psutil.Process(child.pid).create_time()
    content = json.loads(board.path.read_text()) | {"pid": child.pid, "started": started}
    board.path.write_text(json.dumps(content))
    assert read_hands(tmp_path / "workers")[0].alive
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and a zombie
    assert not read_hands(tmp_path / "workers")[0].alive
    child.communicate()


@pytest.mark.parametrize(
    ("stages", "suspects"),
    [
        ({"a": "read", "b": None, "c": "predict"}, {"a", "c"}),
        ({"a": None, "b": None}, set()),
        ({"a": "write", "d": "deliver"}, {"a"}),
        ({"a": None, "d": "deliver"}, {"d"}),
    ],
)
def test_what_is_worked_on_is_suspect_and_a_delivery_where_there_is_nothing_else(
    board, tmp_path, stages, suspects
):
    for name, stage in stages.items():
        board.note(claim(name, Stage.DELIVER if name == "d" else Stage.MAKE), stage)
    (hands,) = read_hands(tmp_path / "workers")
    assert {flight.claim.study for flight in hands.suspects()} == {hash_uid(name) for name in suspects}
    board.stop()
    (hands,) = read_hands(tmp_path / "workers")
    assert hands.suspects() == []


def test_a_file_that_a_power_cut_left_empty_is_removed(board, tmp_path):
    board.path.write_text("")
    assert read_hands(tmp_path / "workers") == []
    assert not board.path.exists()


def test_what_a_worker_that_is_gone_wrote_half_is_removed(board, tmp_path):
    call = [sys.executable, "-c", WRITES_HALF, str(tmp_path / "workers")]
    gone = subprocess.run(call, check=False)
    assert gone.returncode == -signal.SIGKILL
    folder = tmp_path / "workers"
    assert len(list(folder.glob("worker-2*.part"))) == 1
    ours = board.path.with_suffix(f".{os.getpid()}.part")
    ours.touch()
    assert {hands.owner for hands in read_hands(folder)} == {"worker-1", "worker-2"}
    assert list(folder.glob("*.part")) == [ours], "which may be about to get its name"
    board.note(claim("a"), "read")
    assert list(folder.glob("*.part")) == []


def test_one_waits_until_a_study_is_alone_and_until_it_is_gone(board):
    board.note(claim("a"), "read")
    board.note(claim("b"), None)
    seen = []

    def wait():
        board.wait_alone(claim("a"))
        seen.append("alone")
        board.wait_gone(claim("a"))
        seen.append("gone")

    thread = Thread(target=wait)
    thread.start()
    assert seen == []
    board.drop(claim("b"))
    board.drop(claim("a"))
    thread.join(10)
    assert seen == ["alone", "gone"]
