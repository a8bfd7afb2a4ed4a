"""medkit predicts on a root file system that is read-only, as a user who owns nothing, without a network."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import pytest

from tests.docker.files import DOCKER, ROOT, stages
from tests.phantoms import write_hippocampus
from tests.servers.programs import missing, program

# Every mount of the container, and nobody's user; the environment is that of the image.
INSIDE = """
set -eu
mount --bind {scans} /mnt
mount --bind {results} /srv
mount --bind {source} /media
mount --bind {folder} /tmp
for place in / /mnt /media; do mount --options remount,bind,ro $place; done
! touch /as_root_file_system_is_read_only 2>/dev/null
exec setpriv --reuid 4711 --regid 4711 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all "$@"
"""


def image_environment() -> dict[str, str]:
    _, known = stages(DOCKER / "Dockerfile")
    (runtime,) = [stage for stage in known if stage.name == "runtime"]
    words = [word for line in runtime.all("ENV") for word in shlex.split(line)]
    return dict(word.split("=", 1) for word in words if not word.startswith("PATH="))


@pytest.mark.skipif(sys.platform != "linux", reason="mounts are Linux's")
def test_predict(tmp_path):
    for name in ("unshare", "setpriv", "mount"):
        program(name)
    if os.geteuid() != 0:
        missing("mounts need root")
    environment = image_environment()
    assert environment["HOME"] == "/tmp"
    folders = {name: tmp_path / name for name in ("scans", "results", "folder")}
    for folder in folders.values():
        folder.mkdir(mode=0o777)
        folder.chmod(0o777)
    write_hippocampus(folders["scans"] / "scan.nii.gz")
    call = [sys.executable, "-m", "medkit", "predict", "hippocampus_segmentation_unet", "/mnt"]
    places = {"source": ROOT} | folders
    inside = INSIDE.format(**{name: shlex.quote(str(path)) for name, path in places.items()})
    done = subprocess.run(
        ["unshare", "--mount", "--net", "sh", "-c", inside, "sh", *call, "--output", "/srv"],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": "/media", "OMP_NUM_THREADS": "1"} | environment,
        check=False,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((folders["results"] / "report.json").read_text())
    assert (report["cases_done"], report["cases_failed"]) == (1, 0)
    assert (folders["results"] / "labels" / "scan.nii.gz").stat().st_uid == 4711
