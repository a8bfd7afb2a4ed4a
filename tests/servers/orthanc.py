"""Orthanc, over DIMSE and DICOMweb."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.servers.loopback import free_port
from tests.servers.processes import running
from tests.servers.programs import missing, program

AE_TITLE = "ORTHANC"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "medkit", "a test's password"


@dataclass(frozen=True)
class Orthanc:
    """One that is running.

    Args:
        dicom_port: of DIMSE.
        http_port: of its REST interface and DICOMweb.
        log: what it said.
    """

    dicom_port: int
    http_port: int
    log: Path
    host: str = "127.0.0.1"
    ae_title: str = AE_TITLE

    @property
    def url(self) -> str:
        """Of its own interface."""
        return f"http://{self.host}:{self.http_port}"

    @property
    def dicomweb(self) -> str:
        """Of DICOMweb."""
        return f"{self.url}/dicom-web"

    def ask(self, path: str, method: str = "GET", **more: Any) -> Any:
        """Talk to its own interface."""
        answer = requests.request(method, f"{self.url}{path}", auth=(USER, PASSWORD), timeout=30, **more)
        answer.raise_for_status()
        return (
            answer.json()
            if answer.headers.get("Content-Type", "").startswith("application/json")
            else answer.content
        )

    def clear(self) -> None:
        """Forget all studies."""
        for study in self.ask("/studies"):
            self.ask(f"/studies/{study}", "DELETE")


@contextmanager
def orthanc_in(folder: Path, ports: tuple[int, int] | None = None, **settings: Any) -> Iterator[Orthanc]:
    """Run one that keeps its studies in a folder.

    Args:
        folder: for all that it writes.
        ports: of DIMSE and of HTTP, where it is to be found again after it was stopped; any two unless told.
        settings: of its configuration, beside or in the place of those here.
    """
    binary = program("Orthanc", "/usr/sbin:/usr/bin")
    if not PLUGIN.exists():
        missing(f"{PLUGIN} is not installed")
    dicom_port, http_port = ports or (free_port(), free_port())
    configuration = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(PLUGIN)],
        "DicomAet": AE_TITLE,
        "DicomPort": dicom_port,
        "HttpPort": http_port,
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "RemoteAccessAllowed": True,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "TcpNoDelay": True,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        **settings,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration), encoding="utf-8")
    log = folder / "orthanc.log"
    with running(["env", "TCP_NODELAY=1", binary, path], [dicom_port, http_port], log):
        yield Orthanc(dicom_port, http_port, log)
