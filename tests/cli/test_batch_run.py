from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.batch.service.studies import study_hash, write_numbered

BUNDLE = "hippocampus_segmentation_unet"


# As `medkit`, but for the seconds between two attempts at the study that is broken.
IMPATIENT = (
    "import medkit.cli.batch_run as run; run._RETRY_SECONDS = 0.1; from medkit.cli import main; main()"
)


def run(folder, *arguments):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    call = [sys.executable, "-c", IMPATIENT, "batch", "run", *arguments, "--rules", "rules.yaml", "-o", "out"]
    return subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "rules.yaml").write_text(
        f"rules: [{{name: mr, bundle: {BUNDLE}, inputs: {{image: {{modality: MR}}}}}}]\n", encoding="utf-8"
    )
    return tmp_path


def test_studies_of_a_folder_are_delivered_and_a_broken_one_is_told(folder):
    write_numbered(folder / "in" / "good", 0)
    whole = sorted(write_numbered(folder / "in" / "cut", 1).iterdir())
    whole[3].write_bytes(whole[3].read_bytes()[:-40])
    ended = run(folder, "in")
    assert ended.returncode == 3, ended.stderr
    assert "1 delivered, 0 skipped, 0 refused, 1 quarantined" in ended.stdout
    assert "instances-missing" in ended.stdout
    assert len(list((folder / "out" / "delivered" / study_hash(0)).iterdir())) == 3
    again = run(folder, "in")
    assert again.returncode == 3
    assert "1 delivered" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [((), "INPUTS"), (("nowhere",), "nowhere"), (("--workers", "0", "in"), "--workers")],
)
def test_a_wrong_call_is_told(folder, arguments, said):
    ended = run(folder, *arguments)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_cluster_that_is_not_there_is_told(folder):
    (folder / "in").mkdir()
    write_numbered(folder / "in" / "good", 0)
    ended = run(folder, "in", "--scheduler", "tcp://127.0.0.1:9", "--in-flight", "2")
    assert ended.returncode == 2, ended.stderr
    assert "cluster: expected a scheduler at tcp://127.0.0.1:9, got:" in ended.stderr
    assert "Traceback" not in ended.stderr
