"""Workers and the service itself are killed: every study ends once, and what kills workers is set aside."""

from __future__ import annotations

import pickle
import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest

from medkit.batch.folder import JobFolder
from medkit.batch.ledger import LedgerView, Policy, State
from medkit.batch.making import BundleSettings
from medkit.batch.service.flights import read_hands
from medkit.batch.service.settings import Settings, WorkLimits
from medkit.batch.spool import SpoolLimits
from tests.batch.making.studies import RULE
from tests.batch.service.conftest import PATIENCE, started, wait_for
from tests.batch.service.steps import DEADLY, SLOW
from tests.batch.service.studies import check_delivered_once, study_hash, write_numbered
from tests.tiny_bundle import NAME

RUN = "tests.batch.service.run_process"


@pytest.fixture
def settings(tmp_path, bundle_root):
    (tmp_path / "out").mkdir()
    return Settings(
        job=JobFolder(tmp_path / "job"),
        rules=(RULE,),
        folders={"out": tmp_path / "out"},
        bundles={NAME: BundleSettings(location=bundle_root)},
        spool=SpoolLimits(free_bytes=0),
        policy=Policy(attempts=6, delay_seconds=0.1),
        device="cpu",
        workers=2,
        limits=WorkLimits(stop_seconds=60),
        status_port=None,
    )


def arguments(settings, tmp_path):
    (tmp_path / "settings").write_bytes(pickle.dumps(settings))
    return RUN, str(tmp_path / "settings"), str(tmp_path / "in")


class Killing:
    """Kills of a running batch, while its workers have something in their hands."""

    def __init__(self, settings, process, log, chance) -> None:
        self.settings, self.process, self.log, self.chance = settings, process, log, chance

    def kill(self, choice):
        """Kill a worker that the service then buries, the service, or it with a worker; whether there was time to."""
        victim = self._busy_worker()
        if victim is None:
            return False
        pids = {"service": [self.process.pid], "worker": [victim.pid], "all": [self.process.pid, victim.pid]}
        for pid in pids[choice]:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()
        if choice == "worker":
            wait_for(lambda: not victim.path.exists(), self.process, self.log)
        return True

    def _busy_worker(self):
        busy = []

        def found():
            hands = read_hands(self.settings.job.work / "workers")
            busy[:] = [one for one in hands if one.alive and any(flight.stage for flight in one.flights)]
            return bool(busy) or self.process.poll() == 0

        wait_for(found, self.process, self.log)
        return self.chance.choice(busy) if busy else None


@pytest.mark.parametrize("seed", [1])
def test_whoever_is_killed_every_study_is_delivered_once(settings, tmp_path, seed):
    chance, log, numbers = random.Random(seed), tmp_path / "log", range(8)
    for number in numbers:
        write_numbered(tmp_path / "in" / str(number), number)
    call, killed = arguments(settings, tmp_path), []
    for choices in (("worker", "service"), ("worker", "all")):
        with started(*call, log=log) as process:
            killing = Killing(settings, process, log, chance)
            killed += [choice for choice in choices if killing.kill(choice)]
    assert killed[:2] == ["worker", "service"]
    with started(*call, log=log) as process:
        assert process.wait(PATIENCE) == 0, log.read_text()[-3000:]
    states = check_delivered_once(settings.job, tmp_path / "out")
    assert states == {study_hash(number): State.DELIVERED for number in numbers}
    assert list((settings.job.spool / "incoming").iterdir()) == []
    kept = [path for path in settings.job.results.glob("*/*/*") if path.is_dir()]
    assert len(kept) == len(states), "what killed attempts left is gone"


def test_what_kills_its_worker_or_takes_too_long_is_set_aside_and_the_rest_is_delivered(settings, tmp_path):
    limits = WorkLimits(stage_seconds=10, stop_seconds=60)
    settings = replace(settings, workers=1, policy=Policy(attempts=2, delay_seconds=0.1), limits=limits)
    shapes = {1: DEADLY, 3: SLOW}
    for number in range(6):
        folder = tmp_path / "in" / str(number)
        write_numbered(folder, number, shapes[number]) if number in shapes else write_numbered(folder, number)
    log = tmp_path / "log"
    with started(*arguments(settings, tmp_path), log=log) as process:
        assert process.wait(PATIENCE) == 0, log.read_text()[-3000:]
    states = check_delivered_once(settings.job, tmp_path / "out")
    assert {study: state for study, state in states.items() if state is not State.DELIVERED} == {
        study_hash(1): State.QUARANTINED,
        study_hash(3): State.QUARANTINED,
    }
    with LedgerView(settings.job.ledger) as view:
        assert view.study(study_hash(1)).code == "worker-died"
        assert view.study(study_hash(3)).code == "too-slow"
        blamed = Counter(entry.study for entry in view.history() if entry.code in ("worker-died", "too-slow"))
    assert max(blamed[study_hash(number)] for number in (0, 2, 4, 5)) <= 1, (
        "a neighbour is blamed once at most"
    )
