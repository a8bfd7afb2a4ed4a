"""A service to which everything happens that may, and studies that all have to end well all the same; see ``batch.py``.

An engine of faults, by a seed: workers and the service are killed (-9), the archive is stopped and started, the disk of
the batch is filled to the watermark and to its last byte. Studies come all the while over C-STORE and through a watched
folder, some of them broken. The service is started again at once when it was killed, as systemd would; nobody mends
anything else by hand.
"""

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from batch_service import Service, Site, make_site, serving, states, wait_until
from batch_studies import WAYS, Sample, write_broken, write_small
from batch_surroundings import Archive, Disk, Senders, held_in
from batch_throughput import BUNDLE, take
from batch_verdicts import Held, Verdicts, judge_destination, judge_ends, judge_files

from medkit.batch.ledger import LedgerError, LedgerView
from medkit.batch.ledger.states import ENDS
from medkit.batch.service.flights import Hands, read_hands
from medkit.bundle.store import find_bundle
from medkit.dicom.network.content import content_hash
from tests.batch.service.steps import add_poison
from tests.servers.loopback import Loopback, free_port

WORKER, SERVICE, BOTH = (
    "a worker is killed",
    "the service is killed",
    "the service and all workers are killed",
)
ARCHIVE, LOW, FULL = (
    "the archive is stopped",
    "the disk is filled to the watermark",
    "the disk is filled to the last byte",
)
BY_ITSELF = "the service ended by itself, and was started again"
# How often for 200 studies; with fewer, each at least once.
EVENTS = {WORKER: 24, SERVICE: 5, BOTH: 2, ARCHIVE: 3, LOW: 2, FULL: 2}
BROKEN = 0.05
SETTINGS: dict[str, Any] = {
    "quiet_seconds": 7,
    "limits": {"attempts": 5, "retry_seconds": 2, "stage_seconds": 20, "free_gib": 0.125, "stop_seconds": 60},
    "status": {"port": 0},
}
_PAUSE, _DOWN, _LOW, _FULL = (2.0, 7.0), (5.0, 20.0), (5.0, 12.0), (4.0, 8.0)  # seconds, from and to
_SOON_SECONDS = 45.0
_PATIENCE_SECONDS = 1500.0


@dataclass
class Run:
    """What a run was, and what came of it.

    ``hits`` are how often each study (by its hash) may have been what killed a worker that the run killed.
    """

    samples: list[Sample]
    hits: Counter[str] = field(default_factory=Counter)
    happened: Counter[str] = field(default_factory=Counter)
    at_work: int = 0
    sent_again: int = 0
    seconds: float = 0.0
    ended: bool = False
    exit_code: int | None = None
    ends: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    verdicts: Verdicts = field(default_factory=Verdicts)

    @property
    def good(self) -> bool:
        """Whether everything is as it should be."""
        return self.ended and self.exit_code == 0 and self.verdicts.good


def make_samples(folder: Path, count: int, chance: random.Random) -> list[Sample]:
    """So many studies in the order in which they come, one in twenty broken, and one at least."""
    folder.mkdir(parents=True, exist_ok=True)
    broken = max(1, round(BROKEN * count))
    names = [list(WAYS)[number % len(WAYS)] for number in range(broken)]
    samples = [write_broken(folder / f"{number:04}-broken", number, way) for number, way in enumerate(names)]
    samples += [write_small(folder / f"{number:04}", number) for number in range(broken, count)]
    chance.shuffle(samples)
    return samples


def expected_objects(
    work: Path, samples: list[Sample], bundle: Path, workers: int
) -> dict[str, dict[str, str]]:
    """What a run without faults makes of the good studies: study to UIDs to hashes of what they say."""
    good = [sample for sample in samples if not sample.way]
    folder = work / "undisturbed"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "out").mkdir(parents=True)
    (folder / "in").mkdir()
    told = {"sources": {"folders": [{"folder": "in"}]}, "destinations": {"folders": {"out": "out"}}}
    told |= {"bundles": {BUNDLE: {"location": str(bundle)}}, "workers": workers}
    site = make_site(folder, BUNDLE, **told, limits={"free_gib": 0}, status={"port": 0})
    take(site, good)
    with serving(site):
        assert wait_until(lambda: all(state in ENDS for state, _ in states(site.job).values()))
    found = {
        sample.study: {
            path.stem: content_hash(path) for path in (folder / "out" / sample.study).glob("*.dcm")
        }
        for sample in good
    }
    assert all(len(objects) == 3 for objects in found.values()), f"see {site.log}"
    return found


def poisoned_bundle(folder: Path) -> Path:
    """The shipped bundle with a step that some sizes of images do harm by."""
    root = folder / BUNDLE
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(find_bundle(BUNDLE).root, root)
    return add_poison(root)


class Faults:
    """Lets things happen to a service, and ends them again.

    Args:
        run: is told what happened.
        chance: by which all is drawn.
        service: see there.
        archive: see there.
        disk: see there.
    """

    def __init__(
        self, run: Run, chance: random.Random, service: Service, archive: Archive, disk: Disk
    ) -> None:
        self._run, self._chance, self._service = run, chance, service
        self._archive, self._disk = archive, disk
        self._due: list[tuple[float, Callable[[], object]]] = []
        self._events = {WORKER: self._kill_worker, SERVICE: self._kill_service, BOTH: self._kill_all}
        self._events |= {ARCHIVE: self._stop_archive, LOW: self._fill_low, FULL: self._fill}

    def plan(self, count: int) -> list[str]:
        """What happens, in its order. The disk is full early, since studies then wait for five minutes."""
        share = count / 200
        often = {name: max(1, round(times * share)) for name, times in EVENTS.items()}
        early = [name for name in (LOW, FULL) for _ in range(often[name])]
        others = [name for name, times in often.items() if name not in (LOW, FULL) for _ in range(times)]
        self._chance.shuffle(others)
        for name in early:
            others.insert(self._chance.randrange(len(others) // 3 + 1), name)
        return others

    def let_happen(self, name: str) -> None:
        """Let something happen a little later, and when something is being worked on, if that is soon."""
        self._wait(self._chance.uniform(*_PAUSE))
        until = time.monotonic() + _SOON_SECONDS
        while not self._busy() and time.monotonic() < until:
            self._wait(0.1)
        self._run.at_work += bool(self._busy())
        self._events[name]()
        self._run.happened[name] += 1
        print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)

    def end(self) -> None:
        """Wait until all that was stopped or filled is as it was."""
        while self._due:
            self._wait(0.2)

    def keep_alive(self) -> bool:
        """Start the service again where it ended by itself, as what watches over services does; always true."""
        if not self._service.alive:
            self._run.happened[BY_ITSELF] += 1
            self._service.start()
        return True

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            for one in [one for one in self._due if one[0] <= now]:
                self._due.remove(one)
                one[1]()
            self.keep_alive()
            time.sleep(0.05)

    def _later(self, seconds: tuple[float, float], action: Callable[[], object]) -> None:
        self._due.append((time.monotonic() + self._chance.uniform(*seconds), action))

    def _busy(self) -> list[int]:
        """Processes of workers that do something with a study."""
        return sorted(one.pid for one in self._hands() if one.alive and one.suspects())

    def _hands(self) -> list[Hands]:
        return read_hands(self._service.site.job.work / "workers")

    def _kill_worker(self) -> None:
        victims = self._busy() or sorted(one.pid for one in self._service.processes()[1:])
        if victims:
            self._kill(self._chance.choice(victims))

    def _kill(self, pid: int) -> None:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            process.suspend()  # so that it dies with what it has in its hands now
            hands = [one for one in self._hands() if one.pid == pid]
            process.kill()
            self._run.hits.update({flight.claim.study for one in hands for flight in one.suspects()})

    def _kill_service(self) -> None:
        self._service.kill()
        self._service.start()

    def _kill_all(self) -> None:
        for process in self._service.processes():
            self._kill(process.pid)
        self._service.kill()
        self._service.start()

    def _stop_archive(self) -> None:
        self.end()  # one thing at a time of these that last
        self._archive.stop()
        self._later(_DOWN, self._archive.start)

    def _fill_low(self) -> None:
        self.end()
        self._disk.fill(int(0.9 * SETTINGS["limits"]["free_gib"] * (1 << 30)))
        self._later(_LOW, self._disk.free)

    def _fill(self) -> None:
        self.end()
        self._disk.fill(0)
        self._later(_FULL, self._disk.free)


def run_faults(work: Path, count: int, seed: int, workers: int) -> Run:
    """Make the studies, run them without faults, run them with faults, and judge.

    Args:
        work: folder for everything.
        count: studies.
        seed: of all that is drawn.
        workers: of the service.
    """
    chance = random.Random(seed)
    samples = make_samples(work / f"faults-{count}", count, chance)
    bundle = poisoned_bundle(work)
    expected = expected_objects(work, samples, bundle, workers)
    network = Loopback()
    disk = Disk(work / "disk")
    with network.entered(), disk.mounted():
        try:
            return _disturbed(work, samples, expected, (bundle, workers, disk, chance))
        finally:
            network.close()


def _disturbed(
    work: Path,
    samples: list[Sample],
    expected: dict[str, dict[str, str]],
    means: tuple[Path, int, Disk, random.Random],
) -> Run:
    bundle, workers, disk, chance = means
    run = Run(samples)
    folder = work / "disturbed"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "in").mkdir(parents=True)
    copies = disk.folder / "copies"
    copies.mkdir()
    archive = Archive(folder / "orthanc")
    try:
        site, port = _site(folder, archive, disk, (bundle, workers, copies))
        service = Service(site)
        service.start()
        senders = Senders(port, folder / "in")
        begun = time.monotonic()
        faults = Faults(run, chance, service, archive, disk)
        _feed(faults, samples, senders)
        run.ended = wait_until(lambda: faults.keep_alive() and _all_ended(site, samples), _PATIENCE_SECONDS)
        run.seconds = time.monotonic() - begun
        service.stop()
        service.start()  # what the last kill left is removed when it starts
        run.ended &= wait_until(lambda: len(service.processes()) > workers and _all_ended(site, samples), 120)
        run.exit_code = service.stop()
        run.sent_again = senders.again
        _judge(run, expected, site, {"archive": archive.held(folder / "held"), "copies": _files(copies)})
        judge_files(site.job, copies, run.verdicts)
    finally:
        archive.stop()
    return run


def _site(folder: Path, archive: Archive, disk: Disk, means: tuple[Path, int, Path]) -> tuple[Site, int]:
    """The settings of the service, and the port of its node."""
    bundle, workers, copies = means
    orthanc, port = archive.orthanc, free_port()
    node = {"ae_title": "MEDKIT", "callers": ["SCANNER"], "port": port}
    told = SETTINGS | {
        "sources": {"nodes": [node], "folders": [{"folder": "in", "rest_seconds": 1}]},
        "archives": {
            "dimse": {
                "pacs": {"host": orthanc.host, "port": orthanc.dicom_port, "ae_title": orthanc.ae_title}
            }
        },
        "destinations": {"archives": ["pacs"], "folders": {"copies": str(copies)}},
        "bundles": {BUNDLE: {"location": str(bundle)}},
        "workers": workers,
    }
    return make_site(folder, BUNDLE, job=disk.folder / "batch", **told), port


def _feed(faults: Faults, samples: list[Sample], senders: Senders) -> None:
    """Bring studies, as many before each event as after it."""
    events = faults.plan(len(samples))
    for number, event in enumerate(events):
        for sample in samples[
            number * len(samples) // len(events) : (number + 1) * len(samples) // len(events)
        ]:
            senders.bring(sample)
        faults.let_happen(event)
    faults.end()


def _all_ended(site: Site, samples: list[Sample]) -> bool:
    try:
        found = states(site.job)
        with LedgerView(site.job.ledger) as view:
            if view.withdrawals():
                return False
    except LedgerError:
        return False
    return all(sample.study in found and found[sample.study][0] in ENDS for sample in samples)


def _files(folder: Path) -> list[Held]:
    return [held_in(path) for path in folder.rglob("*") if path.is_file()]


def _judge(
    run: Run, expected: dict[str, dict[str, str]], site: Site, destinations: dict[str, list[Held]]
) -> None:
    found = states(site.job)
    for name, held in destinations.items():
        judge_destination(name, run.samples, expected, held, run.verdicts)
    run.ends = Counter((str(state), code) for state, code in found.values())
    with LedgerView(site.job.ledger) as view:
        history = view.history()
    run.codes = Counter(entry.code for entry in history if entry.code is not None)
    due = {(sample.study, WAYS[sample.way].code) for sample in run.samples if sample.way}
    explained = run.hits + Counter(entry.study for entry in history if (entry.study, entry.code) in due)
    judge_ends(run.samples, found, explained, SETTINGS["limits"]["attempts"], run.verdicts)
