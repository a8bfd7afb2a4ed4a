"""A service through which many small studies go: does its memory stay flat? See ``batch.py``."""

import os
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil
from batch_service import Service, Site, make_site, serving, wait_until
from batch_studies import Sample, write_small
from batch_surroundings import Archive, Senders
from batch_throughput import BUNDLE
from scipy import stats

from medkit.batch.folder import JobFolder
from medkit.batch.ledger import LedgerView, State
from medkit.batch.ledger.states import ENDS
from tests.servers.loopback import Loopback, free_port

KEPT_SECONDS = 60
WARM_UP = 0.25
SENDERS = 2
_BLOCKS = 20
_SAMPLE_SECONDS, _SIZES_EVERY = 2.0, 10
_MOST_WAITING = 60
_MIB = 1 << 20
_SERVICE = "service"


@dataclass(frozen=True)
class Reading:
    """One look at the service.

    Args:
        seconds: since it was started.
        ended: studies that were.
        rss: MiB of each process, by its name.
        files: that each has open.
        threads: of each.
        sizes: MiB of the parts of the batch's folder; empty in most looks.
    """

    seconds: float
    ended: int
    rss: dict[str, float]
    files: dict[str, int]
    threads: dict[str, int]
    sizes: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Slope:
    """How memory grows with studies after the warm-up: MiB for 1000 studies, with an interval of 95 %."""

    mean: float
    low: float
    high: float

    @property
    def grows(self) -> bool:
        """Whether memory certainly grows, and by what would be felt in a year."""
        return self.low > 0 and self.mean > 1


@dataclass
class Soak:
    """What was seen."""

    samples: int
    seconds: float
    readings: list[Reading]
    delivered: int
    purged: int

    @property
    def slopes(self) -> dict[str, Slope]:
        """By process: those that lived from the warm-up to the end."""
        return {name: slope_of(self.readings, name, WARM_UP * self.samples) for name in self.readings[-1].rss}

    @property
    def judged(self) -> dict[str, Slope]:
        """The service's, and that of the workers together, which are one program that runs several times."""
        workers = [slope for name, slope in self.slopes.items() if name != _SERVICE]
        own = {name: slope for name, slope in self.slopes.items() if name == _SERVICE}
        return own | ({"workers, mean": mean_slope(workers)} if workers else {})

    @property
    def good(self) -> bool:
        """Whether all was delivered and nothing grows."""
        return self.delivered == self.samples and not any(slope.grows for slope in self.judged.values())


def mean_slope(slopes: Sequence[Slope]) -> Slope:
    """The mean of processes that are alike, with the interval that follows from how they differ.

    A process may keep pages that it freed, or give them back: that shows as a slope of its own, and not as one of all.
    """
    if len(slopes) == 1:
        return slopes[0]
    means = [one.mean for one in slopes]
    mean, error = statistics.fmean(means), statistics.stdev(means) / len(means) ** 0.5
    half = float(stats.t.ppf(0.975, len(means) - 1)) * error
    return Slope(mean, mean - half, mean + half)


def slope_of(readings: Sequence[Reading], process: str, first: float) -> Slope:
    """A straight line through the medians of blocks of studies, which are less like their neighbours than readings are.

    Args:
        readings: in their order.
        process: whose memory.
        first: studies before which it is warming up.
    """
    warm = [one for one in readings if one.ended >= first and process in one.rss]
    last = warm[-1].ended
    width = (last - first) / _BLOCKS or 1.0
    blocks: dict[int, list[Reading]] = {}
    for one in warm:
        blocks.setdefault(min(int((one.ended - first) / width), _BLOCKS - 1), []).append(one)
    if len(blocks) < 3:
        return Slope(float("nan"), float("-inf"), float("inf"))
    studies = [statistics.fmean(one.ended for one in block) for block in blocks.values()]
    memory = [statistics.median(one.rss[process] for one in block) for block in blocks.values()]
    line = stats.linregress(studies, memory)
    half = float(stats.t.ppf(0.975, len(blocks) - 2) * line.stderr)
    return Slope(*(1000 * value for value in (line.slope, line.slope - half, line.slope + half)))


class Sampler:
    """Looks at a service again and again, in a thread of its own.

    Args:
        service: see there.
    """

    def __init__(self, service: Service) -> None:
        self._service, self._stop = service, Event()
        self._names: dict[int, str] = {}
        self._thread = Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()
        self.readings: list[Reading] = []

    @property
    def alive(self) -> bool:
        """Whether it goes on."""
        return self._thread.is_alive()

    def end(self) -> list[Reading]:
        """All that was seen."""
        self._stop.set()
        self._thread.join()
        return self.readings

    def _run(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            with suppress(psutil.NoSuchProcess):
                self.readings.append(self._look(len(self.readings) % _SIZES_EVERY == 0))

    def _look(self, sizes: bool) -> Reading:
        processes = {self._name(one): one for one in self._service.processes()}
        return Reading(
            time.time() - self._service.started,
            ended_in(self._service.site),
            {name: one.memory_info().rss / _MIB for name, one in processes.items()},
            {name: one.num_fds() for name, one in processes.items()},
            {name: one.num_threads() for name, one in processes.items()},
            sizes_of(self._service.site.job) if sizes else {},
        )

    def _name(self, process: psutil.Process) -> str:
        """Workers are numbered as they come: one that was started again is another."""
        if process.pid == self._service.process.pid:  # type: ignore[union-attr]
            return _SERVICE
        return self._names.setdefault(process.pid, f"worker {len(self._names) + 1}")


def sizes_of(job: JobFolder) -> dict[str, float]:
    """MiB of the parts of a batch's folder, by their names up to a dot; files may go meanwhile."""
    sizes = {_part(path.name): 0 for path in (job.ledger, job.spool, job.results, job.audit, job.sources)}
    for place, _, names in os.walk(job.root):
        for name in names:
            path = Path(place, name)
            part = _part(path.relative_to(job.root).parts[0])
            with suppress(FileNotFoundError):
                if part in sizes:
                    sizes[part] += path.stat().st_size
    return {part: size / _MIB for part, size in sizes.items()}


def _part(name: str) -> str:
    return name.partition(".")[0]  # SQLite has files beside the ledger's


def ended_in(site: Site) -> int:
    """Studies that have ended."""
    if not site.job.ledger.exists():
        return 0
    with LedgerView(site.job.ledger) as view:
        counts = view.counts()
    return sum(counts[state] for state in ENDS)


def run_soak(work: Path, count: int, workers: int, tell: Callable[[str], object] = print) -> Soak:
    """Let so many studies go through one service.

    Args:
        work: folder for everything.
        count: studies.
        workers: of the service.
        tell: is told how far it is.
    """
    (work / "soak").mkdir(parents=True, exist_ok=True)
    samples = [write_small(work / "soak" / f"{number:05}", number) for number in range(count)]
    network = Loopback()
    with network.entered():
        archive = Archive(_anew(work / "soaked") / "orthanc")
        try:
            return _soaked(work / "soaked", samples, archive, workers, tell)
        finally:
            archive.stop()
            network.close()


def _anew(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "in").mkdir(parents=True)
    return folder


def _soaked(
    folder: Path, samples: list[Sample], archive: Archive, workers: int, tell: Callable[[str], object]
) -> Soak:
    site, port = _site(folder, archive, workers)
    with serving(site) as service:
        sampler = Sampler(service)
        senders = [Senders(port, folder / "in") for _ in range(SENDERS)]
        for number, sample in enumerate(samples):
            wait_until(lambda number=number: number - ended_in(site) < _MOST_WAITING)
            assert sampler.alive
            senders[number // 2 % SENDERS].bring(sample)
            if number % 100 == 0:
                tell(f"{number} studies brought, {ended_in(site)} ended")
        assert wait_until(lambda: ended_in(site) == len(samples)), f"see {site.log}"
        seconds = time.time() - service.started
        readings = sampler.end()
    with LedgerView(site.job.ledger) as view:
        delivered = view.counts()[State.DELIVERED]
        purged = sum(record.purged for record in view.studies())
    return Soak(len(samples), seconds, readings, delivered, purged)


def _site(folder: Path, archive: Archive, workers: int) -> tuple[Site, int]:
    """The settings of the service, and the port of its node."""
    orthanc, port = archive.orthanc, free_port()
    pacs = {"host": orthanc.host, "port": orthanc.dicom_port, "ae_title": orthanc.ae_title}
    node = {"ae_title": "MEDKIT", "callers": ["SCANNER"], "port": port}
    told: dict[str, Any] = {
        "sources": {
            "nodes": [node],
            "folders": [{"folder": "in", "rest_seconds": 1, "remove": True, "neighbour_seconds": 30}],
        },
        "archives": {"dimse": {"pacs": pacs}},
        "destinations": {"archives": ["pacs"]},
        "workers": workers,
        "quiet_seconds": 7,
        "retention_days": KEPT_SECONDS / 86400,
        "limits": {"free_gib": 0},
        "status": {"port": 0},
    }
    return make_site(folder, BUNDLE, **told), port
