"""A reader in a process of its own: its volumes arrive, and its end is an answer too."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from dicom_readers import SEED, WITH_REPAIRS, columns, verdict
from dicom_readers_worker import Worker

from tests.dicom_series import KINDS, Outcome, judge, make


@pytest.fixture
def worker(tmp_path):
    found = Worker("SimpleITK", sys.executable, tmp_path / "log")
    yield found
    found.stop()


def test_volumes_arrive_with_versions(worker, tmp_path):
    assert worker.start()["versions"].startswith("SimpleITK ")
    truth = make("two-series", tmp_path / "series", SEED)
    task = {"folder": str(tmp_path / "series"), "output": str(tmp_path / "out.npz"), "repeats": 2}
    answer = worker.read(task)
    assert (answer["error"], answer["refusals"], len(answer["seconds"])) == ("", 0, 2)
    with np.load(tmp_path / "out.npz") as arrays:
        got = [(arrays[f"a{number}"], arrays[f"m{number}"]) for number in range(2)]
    assert judge(truth, got).outcome == Outcome.RIGHT


def test_verdicts_of_right_wrong_and_refused(worker):
    found = {name: verdict(worker, KINDS[name], False) for name in ("axial", "tilt", "two-matrices")}
    assert [row["outcome"] for row in found.values()] == ["right", "wrong", "refused"]
    assert found["tilt"]["reason"]


def test_a_process_that_ended_is_an_answer_and_the_next_task_gets_another(worker, tmp_path):
    worker.start()
    assert worker.process is not None
    worker.process.kill()
    worker.process.wait()
    task = {"folder": str(tmp_path)}
    assert worker.read(task)["error"] == "crashed with -9"
    assert worker.read(task)["error"] == ""


def test_too_long_is_an_answer(worker, tmp_path):
    make("axial", tmp_path / "series")
    worker.start()
    answer = worker.read({"folder": str(tmp_path / "series"), "repeats": 10**6}, limit=0.5)
    assert answer["error"] == "no answer in 0 s"


def test_a_reader_that_is_not_there_says_so(tmp_path):
    hello = Worker("nothing", sys.executable, tmp_path / "log")
    assert "missing" in hello.start()
    hello.stop()


def test_medkit_has_two_columns():
    assert columns(["medkit", "dcm2niix"]) == ["medkit", WITH_REPAIRS, "dcm2niix"]
