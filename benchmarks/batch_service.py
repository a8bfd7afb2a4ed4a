"""A ``medkit serve`` as a process: its settings, its beginning and its end, and what it uses meanwhile."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from medkit.batch.folder import JobFolder
from medkit.batch.ledger import Entry, LedgerView, State

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 1800.0
_TICK_SECONDS = 0.2


@dataclass(frozen=True)
class Site:
    """A folder with the settings of a service, and all that this keeps.

    Args:
        folder: for ``service.yaml``, ``rules.yaml``, the log and, unless told otherwise, the batch.
        job: the folder of the batch.
    """

    folder: Path
    job: JobFolder

    @property
    def log(self) -> Path:
        """What the service and its workers say, over all their lives."""
        return self.folder / "service.log"

    def said(self) -> list[dict[str, Any]]:
        """The lines of the log; what a killed process wrote half is left out."""
        found = []
        for line in (
            self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log.exists() else ()
        ):
            with suppress(ValueError):
                found.append(json.loads(line))
        return found


def make_site(folder: Path, bundle: str, job: Path | None = None, **settings: Any) -> Site:
    """Write the settings of a service that runs one bundle on all MR series.

    Args:
        folder: where; made.
        bundle: its name.
        job: the folder of the batch, where it is not to be in ``folder``.
        settings: of ``service.yaml``, see docs/batch.md.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rule = {"name": "any-mr", "bundle": bundle, "inputs": {"image": {"modality": "MR"}}}
    (folder / "rules.yaml").write_text(json.dumps({"rules": [rule]}), encoding="utf-8")
    site = Site(folder, JobFolder(job or folder / "batch"))
    content = {"folder": str(site.job.root), "rules": "rules.yaml", "device": "cpu", **settings}
    (folder / "service.yaml").write_text(json.dumps(content, indent=1), encoding="utf-8")
    return site


class Service:
    """A service that may be killed and started again.

    Args:
        site: see there.
        threads: of each worker.
        cores: on how many all of it runs; all of them by default.
    """

    def __init__(self, site: Site, threads: int = 1, cores: int | None = None) -> None:
        self.site, self._threads, self._cores = site, threads, cores
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0

    def start(self) -> None:
        """Start it; returns at once."""
        environment = os.environ | {"OMP_NUM_THREADS": str(self._threads)}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.started = time.time()
        with self.site.log.open("ab") as log:
            command = [sys.executable, "-m", "medkit", "serve", "service.yaml", "--logs", "json"]
            self.process = subprocess.Popen(
                [*on_cores(self._cores), *command],
                stdout=log,
                stderr=log,
                cwd=self.site.folder,
                env=environment,
            )

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; gives its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def processes(self) -> list[psutil.Process]:
        """The service and its workers, and nothing that helps them to start."""
        assert self.process is not None
        with suppress(psutil.NoSuchProcess):
            service = psutil.Process(self.process.pid)
            return [service, *workers_of(service)]
        return []


def workers_of(service: psutil.Process) -> list[psutil.Process]:
    """Those of its children that do work."""
    found = []
    for child in service.children():
        with suppress(psutil.NoSuchProcess):
            if any("spawn_main" in word for word in child.cmdline()):
                found.append(child)
    return found


def on_cores(count: int | None) -> list[str]:
    """What begins the call of a program that has no more than so many cores."""
    if count is None:
        return []
    some = sorted(os.sched_getaffinity(0))[:count]
    return ["taskset", "--cpu-list", ",".join(map(str, some))]


@contextmanager
def serving(site: Site, threads: int = 1, cores: int | None = None) -> Iterator[Service]:
    """A service while the block runs; it is ended in good order, or killed where the block raises."""
    service = Service(site, threads, cores)
    service.start()
    try:
        yield service
        if code := service.stop():
            raise RuntimeError(f"the service ended with {code}; see {site.log}")
    finally:
        if service.alive:
            service.kill()


def wait_until(
    condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS, every: float = _TICK_SECONDS
) -> bool:
    """Wait until something is so; whether it came to be in time; asking takes time itself."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(every)
    return True


def states(job: JobFolder) -> dict[str, tuple[State, str | None]]:
    """State and reason of every study; one of which something is arriving counts as being received."""
    if not job.ledger.exists():
        return {}
    with LedgerView(job.ledger) as view:
        records = view.studies()
    return {
        record.study: (State.RECEIVING if record.arriving else record.state, record.code)
        for record in records
    }


def journal(job: JobFolder) -> list[Entry]:
    """Every move of every study."""
    with LedgerView(job.ledger) as view:
        return view.history()
