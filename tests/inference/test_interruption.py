"""``medkit predict`` stopped in the middle: what is there is whole, and the next call does the rest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medkit.data import find_cases
from medkit.inference.report import read_records
from medkit.inference.run import RunOptions, predict_cases
from tests.phantoms import OBLIQUE, hippocampus, nifti

CASES = 30
SHAPE = (32, 30, 28)  # large enough that those left when the signal is sent take seconds


@pytest.fixture
def images(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(CASES):
        image, _ = hippocampus(SHAPE, OBLIQUE, number)
        nib.save(nifti(image, OBLIQUE), tmp_path / "images" / f"scan{number:02}.nii.gz")
    return tmp_path / "images"


def heed_interrupts():
    """A shell lets what it runs in the background ignore Ctrl-C, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def stop_midway(root, images, output, signal_number, more):
    """Start ``medkit predict``, stop it some cases later; return exit code and errors."""
    wanted = len(read_records(output)) + more
    with subprocess.Popen(
        [sys.executable, "-m", "medkit", "predict", str(root), str(images), "-o", str(output)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    ) as process:
        for _ in range(30_000):
            if len(read_records(output)) >= wanted or process.poll() is not None:
                break
            time.sleep(0.01)
        process.send_signal(signal_number)
        _, errors = process.communicate(timeout=300)
    return process.returncode, errors


def check_whole(output):
    """Everything under a final name can be read, and every record has its outputs; return the cases done."""
    for path in (output / "labels").glob("[!.]*"):
        assert np.asarray(nib.load(path).dataobj).shape
    for path in (output / "pictures").glob("[!.]*"):
        Image.open(path).load()
    records = read_records(output)
    assert len(records) == len(list((output / "cases").glob("[!.]*")))
    for record in records:
        assert record["status"] == "done", record
        assert all((output / file).is_file() for file in record["outputs"].values())
    return {record["case"] for record in records}


def times(output, cases):
    files = (path for kind in ("labels", "pictures", "cases") for path in (output / kind).iterdir())
    return {path: path.stat().st_mtime_ns for path in files if path.name.split(".")[0] in cases}


def check_interrupted(code, errors, output):
    """The exit code and the words of an interruption, and a report of all that is whole; return those cases."""
    assert code == 130
    assert errors.splitlines()[-1] == "medkit: interrupted; every file written so far is whole"
    assert "Traceback" not in errors
    found = check_whole(output)
    report = json.loads((output / "report.json").read_text())
    assert {record["case"] for record in report["cases"]} == found
    assert len((output / "volumes.csv").read_text().splitlines()) == 1 + len(found)
    return found


def test_terminated_as_if_interrupted(tiny_root, images, tmp_path):
    code, errors = stop_midway(tiny_root, images, tmp_path / "out", signal.SIGTERM, 4)
    assert 4 <= len(check_interrupted(code, errors, tmp_path / "out")) < CASES


def test_interrupted_then_killed_then_finished(tiny_root, tiny, images, tmp_path):
    output = tmp_path / "out"

    code, errors = stop_midway(tiny_root, images, output, signal.SIGINT, 4)
    interrupted = check_interrupted(code, errors, output)
    assert 4 <= len(interrupted) < CASES
    before = times(output, interrupted)

    code, _ = stop_midway(tiny_root, images, output, signal.SIGKILL, 4)
    assert code == -signal.SIGKILL
    killed = check_whole(output)
    assert len(interrupted) < len(killed) < CASES
    assert times(output, interrupted) == before
    before = times(output, killed)

    outcomes = predict_cases(tiny, find_cases([images]), output)
    assert {outcome.case.name for outcome in outcomes if outcome.status == "skipped"} == killed
    assert len(check_whole(output)) == CASES
    assert times(output, killed) == before

    predict_cases(tiny, find_cases([images]), tmp_path / "unbroken", RunOptions(pictures=False))
    for path in sorted((tmp_path / "unbroken" / "labels").iterdir()):
        broken = nib.load(output / "labels" / path.name)
        np.testing.assert_array_equal(np.asarray(broken.dataobj), np.asarray(nib.load(path).dataobj))
    assert (output / "volumes.csv").read_text() == (tmp_path / "unbroken" / "volumes.csv").read_text()
