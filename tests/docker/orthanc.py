"""Orthanc as its image runs it, with its studies elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.docker.files import DOCKER
from tests.servers.orthanc import PLUGIN
from tests.servers.processes import running
from tests.servers.programs import missing, program

USER, PASSWORD = "medkit", "of the test"


@contextmanager
def image_of_orthanc(folder: Path, hosts: Path | None = None) -> Iterator[dict[str, Any]]:
    """Run it on the ports that it names; yields its configuration.

    Args:
        folder: for its studies.
        hosts: in the place of /etc/hosts.
    """
    found = json.loads((DOCKER / "orthanc.json").read_text())
    binary = program("Orthanc", "/usr/sbin:/usr/bin")
    if not PLUGIN.exists():
        missing(f"{PLUGIN} is not installed")
    assert found["Plugins"] == [str(PLUGIN)]
    assert {"ORTHANC_USER", "ORTHANC_PASSWORD"}.isdisjoint(os.environ)
    changed = found | {key: str(folder / "studies") for key in ("StorageDirectory", "IndexDirectory")}
    path = folder / "orthanc.json"
    path.write_text(json.dumps(changed))
    words = ["env", f"ORTHANC_USER={USER}", f"ORTHANC_PASSWORD={PASSWORD}", "TCP_NODELAY=1", binary, path]
    if hosts is not None:
        bind = f"mount --bind '{hosts}' /etc/hosts && exec \"$@\""
        words = ["unshare", "--mount", "sh", "-c", bind, "sh", *words]
    with running(words, [found["DicomPort"], found["HttpPort"]], folder / "orthanc.log"):
        yield found


def ask(configuration: dict[str, Any], path: str, method: str = "GET", **more: Any) -> Any:
    """Talk to its own interface."""
    address = f"http://127.0.0.1:{configuration['HttpPort']}{path}"
    answer = requests.request(method, address, auth=(USER, PASSWORD), timeout=60, **more)
    answer.raise_for_status()
    return answer.json()
