"""A Dask cluster on this machine: a scheduler and workers as processes of their own, which may be killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from distributed import Client

from medkit.dicom.network.tls import TlsFiles
from tests.batch.service.conftest import PATIENCE, REPOSITORY
from tests.servers.loopback import free_port

GPU = {"GPU": 1}


class Machines:
    """A scheduler, with as many workers as are started; all end with :meth:`close`.

    Args:
        folder: for files.
        tls: of the scheduler.
    """

    def __init__(self, folder: Path, tls: TlsFiles | None = None) -> None:
        self.folder, self.log = folder, folder / "dask.log"
        self.file, self.port = folder / "scheduler.json", free_port()
        self.address = f"{'tls' if tls else 'tcp'}://127.0.0.1:{self.port}"
        files = {"ca-file": tls.authority, "cert": tls.certificate, "key": tls.key} if tls else {}
        self._tls = [f"--tls-{name}={path}" for name, path in files.items()]
        self._processes: list[subprocess.Popen] = []
        self.start_scheduler()

    def start_scheduler(self) -> None:
        self.file.unlink(missing_ok=True)
        options = ("--port", str(self.port), "--scheduler-file", str(self.file), "--no-dashboard")
        self._start("scheduler", "--host", self.address.rpartition(":")[0], *options, *self._tls)
        self.wait_until(self.file.exists)

    def start_workers(self, name: str, *options: str, resources: dict[str, int] | None = None) -> None:
        """A nanny with a worker, and wait until it is there."""
        if resources:
            options += ("--resources", " ".join(f"{key}={value}" for key, value in resources.items()))
        before = len(self.workers())
        fixed = ("--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard", "--name", name)
        self._start("worker", self.address, *fixed, "--local-directory", str(self.folder / name), *options)
        self.wait_until(lambda: len(self.workers()) > before)

    @contextmanager
    def extra_worker(self, *options: str) -> Iterator[str]:
        """One more worker, for a while; its address."""
        before = self.workers().keys()
        self.start_workers("extra", *options)
        (address,) = self.workers().keys() - before
        yield address
        _kill(self._processes.pop())
        self.wait_until(lambda: address not in self.workers())

    def workers(self) -> dict[str, dict[str, Any]]:
        """What the scheduler knows of each worker, by address."""
        with self.client() as client:
            return client.scheduler_info(n_workers=-1)["workers"]

    def client(self) -> Client:
        return Client(self.address, set_as_default=False, timeout=PATIENCE)

    def pids(self) -> dict[str, int]:
        """The process of each worker by its name."""
        with self.client() as client:
            found = client.run(os.getpid)
            return {info["name"]: found[address] for address, info in self.workers().items()}

    def wait_until(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < until, self.log.read_text()[-3000:]
            time.sleep(0.05)

    def close(self) -> None:
        """Kill all of it."""
        while self._processes:
            _kill(self._processes.pop())

    def _start(self, kind: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *arguments]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}
            )
        self._processes.append(process)


def _kill(process: subprocess.Popen) -> None:
    """With all that it started."""
    with suppress(psutil.NoSuchProcess):
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            one.kill()
    process.wait()
