import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from medkit.training.run import create_run
from medkit.training.tracking import TrackingLogger, default_tracking_uri

BUNDLE = "hippocampus_segmentation_unet"


START_RUN = """
import sys
from pathlib import Path
from medkit.training.tracking import TrackingLogger

folder, number = Path(sys.argv[1]), sys.argv[2]
logger = TrackingLogger("same", f"run{number}", folder / number, f"sqlite:///{folder}/mlflow.db")
logger.log_metrics({"loss": float(number)}, step=1)
"""


def test_several_processes_create_the_database_at_once(tmp_path: Path):
    logs = [tmp_path / f"{number}.log" for number in range(4)]
    workers = [
        subprocess.Popen([sys.executable, "-c", START_RUN, str(tmp_path), log.stem], stderr=log.open("w"))
        for log in logs
    ]
    endings = [worker.wait() for worker in workers]
    assert endings == [0, 0, 0, 0], "\n".join(log.read_text()[-2000:] for log in logs)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (experiment,) = [e for e in client.search_experiments() if e.name == "same"]
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.metrics["loss"] for run in runs) == [0.0, 1.0, 2.0, 3.0]


def test_artifacts_lie_beside_the_database(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store").mkdir()
    logger = TrackingLogger("experiment", "run", tmp_path / "run", f"sqlite:///{tmp_path}/store/mlflow.db")
    (tmp_path / "note.txt").write_text("x")
    logger.experiment.log_artifact(logger.run_id, str(tmp_path / "note.txt"))
    assert list((tmp_path / "store" / "mlartifacts").rglob("note.txt"))
    assert not (tmp_path / "mlruns").exists()


def test_run_is_taken_up_again(tmp_path: Path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    first = TrackingLogger("experiment", "run", tmp_path / "run", uri).run_id
    assert TrackingLogger("experiment", "run", tmp_path / "run", uri).run_id == first
    assert TrackingLogger("experiment", "run", tmp_path / "other", uri).run_id != first


def test_default_store_and_the_variable(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert default_tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mine.db")
    assert default_tracking_uri("runs") == f"sqlite:///{tmp_path}/mine.db"
    TrackingLogger("experiment", "run", tmp_path / "run")
    assert (tmp_path / "mine.db").is_file()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert default_tracking_uri(tmp_path) == "http://127.0.0.1:5000"


@pytest.fixture
def server(tmp_path: Path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    executable = shutil.which("mlflow", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert executable is not None
    command = [executable, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db"]
    artifacts = ["--artifacts-destination", str(tmp_path / "server-artifacts")]
    log = (tmp_path / "server.log").open("w")
    process = subprocess.Popen(
        [*command, *stores, *artifacts], stdout=log, stderr=log, start_new_session=True
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_healthy(url, process, tmp_path / "server.log")
        yield url
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=30)


def _wait_until_healthy(url: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"the MLflow server did not come up: {log.read_text()[-2000:]}")


def test_everything_arrives_at_a_real_server(server: str, tmp_path: Path, small):
    overrides = {**small, "tracking_uri": server}
    run = create_run(BUNDLE, tmp_path / "runs", overrides=overrides, name="served", held_out=[0])
    run.train()
    client = MlflowClient(server)
    run_id = (run.folder / "fold0" / "mlflow_run_id.txt").read_text().strip()
    logged = client.get_run(run_id)
    assert logged.data.params["epochs"] == "3"
    assert logged.data.params["fold"] == "0"
    losses = client.get_metric_history(run_id, "train_loss")
    assert len(losses) == 3
    assert {"lr-AdamW", "samples_per_second", "val_dice", "test_dice"} <= logged.data.metrics.keys()
    artifacts = {entry.path for entry in client.list_artifacts(run_id)}
    assert {"data.json", "scores.csv", "figures", "bundle"} <= artifacts
    assert {entry.path for entry in client.list_artifacts(run_id, "figures")} == {
        "figures/worst.png", "figures/median.png", "figures/best.png",
    }  # fmt: skip
    (version,) = client.search_model_versions(f"name='{BUNDLE}'")
    assert version.run_id == run_id
    fetched = Path(client.download_artifacts(run_id, "bundle", str(tmp_path)))
    weights = (fetched / "models" / "model.pt").read_bytes()
    assert weights == (run.folder / "fold0" / "model.pt").read_bytes()
