"""Studies an hour, in every way that the table compares; see ``batch.py``."""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from batch_service import ROOT, Service, Site, journal, make_site, serving, states, wait_until
from batch_studies import Sample, write_hippocampus
from dicom_readers_worker import Worker
from monai_deploy import LIMIT_SECONDS, THEIRS, WAYS, with_channel_step
from results import Results

from medkit.batch.audit import AuditLog
from medkit.batch.delivery.deliver import DELIVER
from medkit.batch.intake.folder import take_folder
from medkit.batch.intake.take import Intake
from medkit.batch.ledger import Ledger, LedgerView, State
from medkit.batch.making import PREDICT, READ, WRITE
from medkit.batch.spool import Spool, SpoolLimits
from medkit.bundle.store import find_bundle
from tests.batch.cluster.machines import Machines

BUNDLE = "hippocampus_segmentation_unet"
SEG = "seg"
PARTS = {READ: "reading", PREDICT: "inference", WRITE: "writing", DELIVER: "sending"}
ONE = Path(__file__).with_name("batch_one.py")
_FEW = 8  # studies of a way that takes many seconds for each
_LONG = 40  # studies of one that goes fast, for each process
_CLUSTER = 2  # workers


@dataclass
class Bench:
    """What all ways are measured with.

    Args:
        work: folder for everything.
        studies: how many at most; no way takes more.
        cores: at hand.
        deploy: interpreter that has MONAI Deploy App SDK; none leaves its rows out.
        results: of earlier runs.
    """

    work: Path
    studies: int
    cores: int
    deploy: str | None
    results: Results
    samples: list[Sample] = field(default_factory=list)

    def some(self, count: int) -> list[Sample]:
        """So many studies, or as many as there may be."""
        count = min(count, self.studies)
        for number in range(len(self.samples), count):
            folder = self.work / "hippocampi" / f"{number:04}"
            folder.parent.mkdir(parents=True, exist_ok=True)
            self.samples.append(write_hippocampus(folder, number))
        return self.samples[:count]


def rows(bench: Bench) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every way with what was measured, one after the other."""
    for name, measure in ways(bench).items():
        key = {
            "way": name,
            "studies": bench.studies,
            "cores": bench.cores,
            "data": "MEDKIT_DATA" in os.environ,
        }
        yield (
            name,
            bench.results.get_or_make(key, lambda measure=measure: measure() | {"load": os.getloadavg()[0]}),
        )


def ways(bench: Bench) -> dict[str, Callable[[], dict[str, Any]]]:
    """All ways by what the table calls them; the first is what the others are compared with."""
    cores = bench.cores
    found: dict[str, Callable[[], dict[str, Any]]] = {
        f"one process a study, {cores} threads": lambda: processes(bench, 1, cores, _one),
        f"one process a study, {cores} at once, 1 thread": lambda: processes(bench, cores, 1, _one),
        "one `medkit batch run` a study, 1 thread": lambda: processes(bench, 1, 1, _batch_run),
    }
    for workers in [number for number in (1, 2, 4) if number <= cores]:
        found[f"medkit, {_workers(workers)} on as many cores"] = lambda workers=workers: (
            {"workers": workers} | service(bench, workers, cores=workers)
        )
    found[f"medkit, {_workers(1)} of 1 thread on all cores"] = lambda: service(bench, 1)
    found[f"medkit, {_workers(1)} of {cores} threads on all cores"] = lambda: service(bench, 1, threads=cores)
    for workers in (1, cores):
        found[f"medkit, {_workers(workers)} on as many cores, segmentation alone"] = lambda workers=workers: (
            service(bench, workers, cores=workers, outputs={"kinds": [SEG]})
        )
    if cores >= _CLUSTER:
        found[f"medkit on a Dask cluster of {_workers(_CLUSTER)}, on as many cores"] = lambda: cluster(bench)
    found[f"`medkit batch run` from the files, {_workers(cores)}"] = lambda: batch_run(bench)
    if bench.deploy:
        for count, threads in ((1, 1), (1, cores), (cores, 1)):
            found[f"MONAI Deploy kept warm, {count} at once, {threads} thread{'s' * (threads > 1)}"] = (
                lambda count=count, threads=threads: deploy(bench, count, threads)
            )
    return found


def _workers(count: int) -> str:
    return f"{count} worker{'s' * (count > 1)}"


def processes(
    bench: Bench, at_once: int, threads: int, command: Callable[[Sample, Path], list[str]]
) -> dict[str, Any]:
    """A process a study, so many at once."""
    samples = bench.some(_FEW * at_once)
    place = bench.work / "objects"
    shutil.rmtree(place, ignore_errors=True)

    def run(sample: Sample) -> float:
        begun = time.perf_counter()
        output = place / str(sample.number)
        output.mkdir(parents=True)
        subprocess.run(command(sample, output), check=True, env=_environment(threads), capture_output=True)
        return time.perf_counter() - begun

    begun, used = time.perf_counter(), _used_by_children()
    with ThreadPoolExecutor(at_once) as pool:
        seconds = list(pool.map(run, samples))
    whole, used = time.perf_counter() - begun, _used_by_children() - used
    assert all(list((place / str(sample.number)).rglob("*.dcm")) for sample in samples)
    found = {"studies": len(samples), "hour": 3600 * len(samples) / whole, "each": statistics.median(seconds)}
    return found | {"cpu": used / len(samples)}


def _used_by_children() -> float:
    """CPU seconds of processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _one(sample: Sample, output: Path) -> list[str]:
    return [sys.executable, str(ONE), str(sample.folder), BUNDLE, str(output)]


def _batch_run(sample: Sample, output: Path) -> list[str]:
    return run_call([sample.folder], make_site(output, BUNDLE), 1)


def service(
    bench: Bench, workers: int, *, threads: int = 1, cores: int | None = None, **settings: Any
) -> dict[str, Any]:
    """``medkit serve`` on studies that it has taken in already, so that making and delivering alone are measured."""
    folder = bench.work / "service"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "out").mkdir(parents=True)
    (folder / "in").mkdir()
    told: dict[str, Any] = {
        "sources": {"folders": [{"folder": "in"}]},
        "destinations": {"folders": {"out": "out"}},
        "limits": {"free_gib": 0},
        "status": {"port": 0},
    }
    if "cluster" not in settings:  # which has workers of its own
        told["workers"] = workers
    site = make_site(folder, BUNDLE, **told, **settings)
    samples = bench.some(_LONG * workers)
    intake_seconds = take(site, samples)
    with serving(site, threads, cores) as running:
        used = _Used(running)
        assert wait_until(lambda: used.look() and _all_delivered(site, len(samples)), every=1.0), site.log
    ready = _ready(site)
    found = {"studies": len(samples), "startup": ready - running.started, "intake": intake_seconds}
    hour, busy = steady(_ends(site), ready, workers), used.cores()
    return found | {"hour": hour, "cores": busy, "cpu": 3600 * busy / hour, "parts": parts(site)}


def cluster(bench: Bench) -> dict[str, Any]:
    """``medkit serve`` with its studies made by a Dask cluster; scheduler, workers and service share the cores."""
    folder, before = bench.work / "dask", os.sched_getaffinity(0)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.sched_setaffinity(0, sorted(before)[:_CLUSTER])
    machines = Machines(folder)
    try:
        for number in range(_CLUSTER):
            machines.start_workers(f"worker-{number}")
        row = service(bench, _CLUSTER, cluster={"scheduler": machines.address})
    finally:
        machines.close()
        os.sched_setaffinity(0, before)
    return {name: row[name] for name in ("studies", "startup", "hour", "cores", "cpu", "parts")}


def take(site: Site, samples: Sequence[Sample]) -> float:
    """Take studies in as ``medkit batch run`` does; seconds for each."""
    job = site.job
    with Ledger(job.ledger, "benchmark") as ledger:
        intake = Intake(ledger, Spool(job.spool, SpoolLimits(free_bytes=0)), AuditLog(job.audit, "benchmark"))
        begun = time.perf_counter()
        for sample in samples:
            take_folder(sample.folder, intake)
        return (time.perf_counter() - begun) / len(samples)


def _all_delivered(site: Site, count: int) -> bool:
    found = [state for state, _ in states(site.job).values()]
    wrong = {state for state in found if state in (State.REFUSED, State.SKIPPED, State.QUARANTINED)}
    assert not wrong, f"all studies are good, but some are {', '.join(wrong)}: see {site.log}"
    return found.count(State.DELIVERED) == count


def _ready(site: Site) -> float:
    """When the last worker was ready."""
    return max(
        datetime.fromisoformat(line["time"]).timestamp() for line in site.said() if line["message"] == "ready"
    )


def _ends(site: Site) -> list[float]:
    """When studies were delivered."""
    return sorted(entry.at for entry in journal(site.job) if entry.after is State.DELIVERED)


def steady(ends: Sequence[float], since: float, workers: int) -> float:
    """Studies an hour while all workers were busy: without the first few after a moment, and without the last few.

    Args:
        ends: moments in their order, seconds.
        since: when all workers were ready.
        workers: how many.
    """
    warm = [end for end in ends if end >= since]
    some = min(2 * workers, len(warm) // 4)
    middle = warm[some : len(warm) - some]
    return 3600 * (len(middle) - 1) / (middle[-1] - middle[0])


def parts(site: Site) -> dict[str, float]:
    """Seconds of each part of the work, for a study."""
    with LedgerView(site.job.ledger) as view:
        found = view.timings()
    return {PARTS[name]: timing.total_seconds / timing.count for name, timing in found.items()}


class _Used:
    """How many cores are kept busy by all processes that were started here: the service, its workers, a cluster."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._marks: list[tuple[float, float]] = []

    def look(self) -> bool:
        """Note what was used so far; always true, as long as the service lives."""
        if not self._service.alive:
            raise RuntimeError("the service has ended by itself; see its log")
        here = psutil.Process().children(recursive=True)
        self._marks.append((time.monotonic(), sum(map(_seconds, here))))
        return True

    def cores(self) -> float:
        """In the second half of the time, when nothing is being started any more."""
        middle, last = self._marks[len(self._marks) // 2], self._marks[-1]
        return (last[1] - middle[1]) / (last[0] - middle[0])


def _seconds(process: psutil.Process) -> float:
    try:
        return sum(process.cpu_times()[:2])
    except psutil.NoSuchProcess:  # a helper of the start
        return 0.0


def batch_run(bench: Bench) -> dict[str, Any]:
    """``medkit batch run`` as it is called, from the files on."""
    samples, folder = bench.some(_LONG * bench.cores), bench.work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    site = make_site(folder, BUNDLE)
    call = run_call([sample.folder for sample in samples], site, bench.cores)
    begun = time.time()
    subprocess.run(call, check=True, env=_environment(1), capture_output=True)
    ends = _ends(site)
    found = {"studies": len(samples), "startup": ends[0] - begun, "parts": parts(site)}
    return found | {"hour": steady(ends, ends[0], bench.cores)}


def run_call(sources: Sequence[Path], site: Site, workers: int) -> list[str]:
    told = ["--rules", str(site.folder / "rules.yaml"), "--output", str(site.job.root), "--device", "cpu"]
    call = [sys.executable, "-m", "medkit", "batch", "run", *map(str, sources), *told]
    return [*call, "--workers", str(workers)]


def _environment(threads: int) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}


def deploy(bench: Bench, at_once: int, threads: int) -> dict[str, Any]:
    """MONAI Deploy's operators, so many processes that stay, each with its network in memory."""
    assert bench.deploy is not None
    samples = bench.some(_LONG * at_once)
    bundle = with_channel_step(find_bundle(BUNDLE).root, bench.work)
    place = bench.work / "deploy"
    shutil.rmtree(place, ignore_errors=True)
    told = (bench.deploy, bench.work / "deploy.log", (WAYS, str(bundle)))
    workers = [Worker(THEIRS, *told) for _ in range(at_once)]

    def work(number: int, some: Sequence[Sample]) -> list[dict[str, Any]]:
        return [_segment(workers[number], sample, place / str(number), threads) for sample in some]

    with ThreadPoolExecutor(at_once) as pool:
        begun = time.perf_counter()
        for hello in pool.map(Worker.start, workers):
            if "missing" in hello:
                sys.exit(f"{THEIRS}: {hello['missing']}")
        list(pool.map(work, range(at_once), [samples[:1]] * at_once))  # warms up
        used = _used_by(workers)
        startup, begun = time.perf_counter() - begun, time.perf_counter()
        shares = [samples[number::at_once] for number in range(at_once)]
        answers = [one for some in pool.map(work, range(at_once), shares) for one in some]
        seconds, used = time.perf_counter() - begun, _used_by(workers) - used
    for worker in workers:
        worker.stop()
    named = {"read": "reading", "predict": "inference", "write": "writing"}
    parts = {
        called: statistics.fmean(one["seconds"][part] for one in answers) for part, called in named.items()
    }
    found = {"studies": len(samples), "startup": startup, "hour": 3600 * len(samples) / seconds}
    return found | {"cores": used / seconds, "cpu": used / len(samples), "parts": parts}


def _used_by(workers: Sequence[Worker]) -> float:
    """CPU seconds of processes that live."""
    return sum(sum(psutil.Process(one.process.pid).cpu_times()[:2]) for one in workers if one.process)


def _segment(worker: Worker, sample: Sample, place: Path, threads: int) -> dict[str, Any]:
    objects = place / str(sample.number)
    objects.mkdir(parents=True, exist_ok=True)
    task = {"do": "segment", "folder": str(sample.folder), "objects": str(objects), "threads": threads}
    answer = worker.read(task, limit=LIMIT_SECONDS)
    assert not answer["error"], answer["error"]
    return answer
