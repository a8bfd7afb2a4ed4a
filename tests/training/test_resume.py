"""A training that is killed goes on from its last epoch and ends as the unbroken one does, bit for bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from medkit.bundle.store import find_bundle

BUNDLE = find_bundle("hippocampus_segmentation_unet").root


def start(folder: Path, name: str, small) -> subprocess.Popen:
    """Plain MONAI, two loader workers, from a folder that is not the project's."""
    overrides = {**small, "epochs": 6, "samples_per_epoch": 16, "num_workers": 2, "run_name": name}
    words = [word for key, value in overrides.items() for word in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "monai.bundle", "run", "--bundle_root", str(BUNDLE)]
    config = ["--config_file", str(BUNDLE / "configs" / "train.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    log = (folder / f"{name}.log").open("a")
    return subprocess.Popen(
        [*command, *config, *words],
        cwd=folder,
        env=environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def kill_after_first_epoch(process: subprocess.Popen, run: Path) -> None:
    deadline = time.monotonic() + 120
    while not (run / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline, "no checkpoint in two minutes"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_killed_and_resumed_equals_unbroken(tmp_path: Path, small):
    runs = tmp_path / "runs" / "hippocampus_segmentation_unet"
    whole = start(tmp_path, "whole", small)
    kill_after_first_epoch(start(tmp_path, "broken", small), runs / "broken" / "all")
    assert not (runs / "broken" / "all" / "model.pt").exists()
    run_id = (runs / "broken" / "all" / "mlflow_run_id.txt").read_text()
    assert start(tmp_path, "broken", small).wait() == 0, (tmp_path / "broken.log").read_text()[-2000:]
    assert whole.wait() == 0, (tmp_path / "whole.log").read_text()[-2000:]

    assert "Restored all states from the checkpoint" in (tmp_path / "broken.log").read_text()
    assert (runs / "broken" / "all" / "mlflow_run_id.txt").read_text() == run_id
    expected, resumed = (torch.load(runs / name / "all" / "model.pt") for name in ("whole", "broken"))
    assert expected.keys() == resumed.keys()
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    whole_file, resumed_file = (
        (runs / name / "all" / "model.pt").read_bytes() for name in ("whole", "broken")
    )
    assert whole_file == resumed_file, "equal weights in unequal files"
