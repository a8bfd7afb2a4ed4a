"""medkit predicts on a root file system that is read-only, as a user who has no name and owns nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.docker.containing import USER, contained, image_environment
from tests.docker.files import ROOT
from tests.phantoms import write_hippocampus

CALL = [
    sys.executable,
    "-m",
    "medkit",
    "predict",
    "hippocampus_segmentation_unet",
    "/mnt",
    "--output",
    "/srv",
]


def test_predict(loopback, tmp_path):
    scans, results = tmp_path / "scans", tmp_path / "results"
    scans.mkdir(mode=0o755)
    write_hippocampus(scans / "scan.nii.gz")
    # The folder of this test lies in /tmp, and is hidden last.
    fixed, changing = {"/mnt": scans, "/media": ROOT}, {"/srv": results, "/tmp": tmp_path / "tmp"}
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": "/media", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        contained(CALL, fixed, changing),
        capture_output=True,
        text=True,
        env=environment | image_environment(),
        check=False,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((results / "report.json").read_text())
    assert (report["cases_done"], report["cases_failed"]) == (1, 0)
    assert (results / "labels" / "scan.nii.gz").stat().st_uid == USER


def test_what_is_said_to_be_read_only_is(tmp_path):
    words = "for place in / /mnt; do ! touch $place/x 2>/dev/null || exit 1; done; touch /srv/x"
    (tmp_path / "fixed").mkdir(mode=0o777)
    (tmp_path / "fixed").chmod(0o777)
    command = contained(["sh", "-c", words], {"/mnt": tmp_path / "fixed"}, {"/srv": tmp_path / "changing"})
    subprocess.run(command, check=True)
    assert (tmp_path / "changing" / "x").stat().st_uid == USER
