"""The service of `compose.yaml` without an engine: a study goes from Orthanc to medkit, and its results come back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

from medkit.batch.service.settings import read_settings
from tests.dicom.writing.sources import write_series
from tests.docker.containing import contained, image_environment
from tests.docker.files import DOCKER, ROOT, load_yaml
from tests.docker.orthanc import ask, image_of_orthanc
from tests.phantoms import hippocampus
from tests.servers.processes import running

PATIENCE_SECONDS = 300
HOSTS = "127.0.0.1 localhost medkit orthanc\n"


def settings_in(folder: Path) -> Path:
    """Those of the image, but for where the batch lies and how long it waits."""
    content = load_yaml((DOCKER / "medkit" / "serve.yaml").read_text())
    content |= {"folder": "/srv", "quiet_seconds": 1}
    folder.mkdir(mode=0o755)
    YAML().dump(content, folder / "serve.yaml")
    (folder / "rules.yaml").write_bytes((DOCKER / "medkit" / "rules.yaml").read_bytes())
    return folder / "serve.yaml"


def study_in(folder: Path) -> Path:
    array, _ = hippocampus((35, 51, 35), np.eye(4))
    write_series(folder, array, np.eye(4), order=False, SeriesDescription="Hippocampus, left")
    return folder


def modalities(orthanc: dict, study: str) -> list[str]:
    series = ask(orthanc, f"/studies/{study}/series")
    return sorted(one["MainDicomTags"]["Modality"] for one in series)


def soon(true: Callable[[], bool]) -> bool:
    """Whether it comes true before patience ends."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not (found := true()) and time.monotonic() < until:
        time.sleep(0.5)
    return found


def test_a_study_comes_back_with_its_results(loopback, tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text(HOSTS)
    config = settings_in(tmp_path / "medkit")
    settings = read_settings(config)
    service = load_yaml((DOCKER / "compose.yaml").read_text())["services"]["medkit"]
    call = [sys.executable, "-m", "medkit", "serve", "/mnt/serve.yaml"]
    fixed = {"/mnt": config.parent, "/media": ROOT, "/etc/hosts": hosts}
    changing = {"/srv": tmp_path / "job", "/tmp": tmp_path / "tmp"}
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": "/media", "OMP_NUM_THREADS": "1"}
    command = ["env", "--chdir=/", "-i"]
    command += [f"{name}={value}" for name, value in (environment | image_environment()).items()]
    log = tmp_path / "medkit.log"
    ports = [settings.nodes[0].options["port"], settings.status_port]
    with image_of_orthanc(tmp_path, hosts) as orthanc:
        with running([*command, *contained(call, fixed, changing)], ports, log) as process:
            check = [sys.executable, *service["healthcheck"]["test"][2:]]
            assert soon(lambda: subprocess.run(check, check=False).returncode == 0), log.read_text()
            for path in study_in(tmp_path / "study").iterdir():
                study = ask(orthanc, "/instances", "POST", data=path.read_bytes())["ParentStudy"]
            ask(orthanc, "/modalities/medkit/store", "POST", data=study)
            assert soon(lambda: modalities(orthanc, study) == ["MR", "SEG", "SR"]), log.read_text()
        assert process.returncode == 0, log.read_text()
    assert "Doe" not in log.read_text()
    assert "KP-4711" not in log.read_text()
