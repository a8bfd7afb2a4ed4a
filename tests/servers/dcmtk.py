"""DCMTK's storage SCP, which refuses and accepts as it is told, and its SCU."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.loopback import free_port
from tests.servers.processes import running
from tests.servers.programs import DCMTK, program


@dataclass(frozen=True)
class Storescp:
    """One that is running.

    Args:
        port: to send to.
        folder: where it writes what comes.
    """

    port: int
    folder: Path
    ae_title: str = "STORESCP"


@contextmanager
def storescp_in(folder: Path, *options: str) -> Iterator[Storescp]:
    """Run one; it listens on every address, so be where only loopback exists."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        "env",
        "TCP_NODELAY=1",
        program("storescp", DCMTK),
        "-aet",
        "STORESCP",
        "-od",
        folder,
        *options,
        str(port),
    ]
    with running(command, [port], folder.with_suffix(".log")):
        yield Storescp(port, folder)


def storescu(
    port: int, paths: Sequence[Path], *options: str, caller: str = "SCANNER", called: str = "MEDKIT"
) -> subprocess.CompletedProcess[str]:
    """Send files to a node."""
    command = [program("storescu", DCMTK), "-aet", caller, "-aec", called, *options, "127.0.0.1", str(port)]
    return subprocess.run([*command, *map(str, paths)], capture_output=True, text=True, check=False)
