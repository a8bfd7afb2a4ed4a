"""Real processes that do as workers do, each by a function of a few lines."""

from __future__ import annotations

import errno
import os
import signal
import time
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import wait

import pytest

from medkit.batch.cluster.settings import ClusterSettings
from medkit.batch.folder import JobFolder
from medkit.batch.identity import hash_uid
from medkit.batch.ledger import Claim, Stage
from medkit.batch.logs import LogSettings
from medkit.batch.notices import Kind, Notices
from medkit.batch.service import crew as module
from medkit.batch.service.crew import Crew
from medkit.batch.service.flights import FlightBoard
from medkit.batch.service.process import Word, hands_folder
from medkit.batch.service.recovery import DIED
from medkit.batch.service.settings import Settings, WorkLimits
from medkit.errors import UsageError
from tests.batch.ledger.stories import Clock

PATIENCE = 60.0
CODES = {Kind.WORKERS: "workers-dying", Kind.CLUSTER: "cluster-fails"}


def crash(settings, number, logs, pipe, proven):
    os._exit(7)


def be_killed(settings, number, logs, pipe, proven):
    os.kill(os.getpid(), signal.SIGKILL)


def miss_a_library(settings, number, logs, pipe, proven):
    pipe.send((Word.ENDING, "it could not begin: ImportError"))
    os._exit(4)


def find_settings_wrong(settings, number, logs, pipe, proven):
    pipe.send((Word.WRONG, "bundle x: expected one, got none"))
    os._exit(2)


def die_when_ready(settings, number, logs, pipe, proven):
    pipe.send((Word.READY, None))
    os._exit(7)


def work_well(settings, number, logs, pipe, proven):
    pipe.send((Word.READY, None))
    time.sleep(PATIENCE)


def find_no_cluster(settings, number, logs, pipe, proven):
    pipe.send((Word.TROUBLE, "cluster: expected a worker, got none"))
    work_well(settings, number, logs, pipe, proven)


def find_a_cluster_again(settings, number, logs, pipe, proven):
    pipe.send((Word.TROUBLE, "cluster: expected a worker, got none"))
    pipe.send((Word.TROUBLE, None))
    work_well(settings, number, logs, pipe, proven)


def wait_for_a_cluster(settings, number, logs, pipe, proven):
    pipe.send((Word.TROUBLE, "expected a scheduler"))
    time.sleep(PATIENCE)


def work_on_one_study(settings, number, logs, pipe, proven):
    board = FlightBoard(hands_folder(settings), f"worker-{number}")
    board.note(Claim(hash_uid("a"), 1, "d" * 64, Stage.MAKE, 1, 1, 1000.0), "predict")
    work_well(settings, number, logs, pipe, proven)


def refuse_at_the_first_start(settings, number, logs, pipe, proven):
    if proven:
        work_well(settings, number, logs, pipe, proven)
    find_settings_wrong(settings, number, logs, pipe, proven)


def wait_for_nothing(settings, number, logs, pipe, proven):
    time.sleep(PATIENCE)


class Yard:
    """A crew with a clock that stands, and processes that begin in no time."""

    def __init__(self, folder, monkeypatch) -> None:
        self.settings = Settings(job=JobFolder(folder / "job"), rules=())
        self.clock = Clock()
        self._patch = monkeypatch
        monkeypatch.setattr(module, "_PROCESSES", get_context("fork"))

    def open(self, work, **settings):
        self.let(work)
        self.settings = replace(self.settings, **settings)
        self.crew = Crew(self.settings, LogSettings(), Notices(self.settings.job.notices), self.clock)
        return self.crew

    def told(self, kind):
        """What a person is told of a kind of part, by the code of its alert."""
        notices = [one for one in Notices(self.settings.job.notices).all() if one.kind is kind]
        assert {one.code for one in notices} <= {CODES[kind]}
        return [one.message for one in notices]

    def let(self, work):
        """What workers do that are started from now on."""
        self._patch.setattr(module, "work", work)

    def tend_until(self, condition):
        until = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < until
            self.crew.tend()
            time.sleep(0.005)

    def die(self, times):
        """Let the first worker die so often, without its pauses."""
        place = self.crew._places[0]
        for deaths in range(place.deaths + 1, place.deaths + times + 1):
            if not self.crew.sentinels:
                self.clock.pass_by(60)
            self.tend_until(lambda deaths=deaths: place.deaths == deaths)


@pytest.fixture
def yard(tmp_path, monkeypatch):
    yard = Yard(tmp_path, monkeypatch)
    yield yard
    yard.crew.stop(lambda: True)


def test_a_worker_that_dies_at_once_is_started_again_later_and_later(yard):
    crew = yard.open(crash)
    yard.die(1)
    assert len(crew.sentinels) == 1, "the first time at once"
    yard.die(1)
    for pause in (1, 3, 7, 15, 31, 60, 60):
        yard.clock.pass_by(pause - 0.5)
        crew.tend()
        assert crew.sentinels == []
        yard.clock.pass_by(0.5)
        crew.tend()
        assert len(crew.sentinels) == 1
        yard.die(1)


def test_a_night_of_deaths_does_not_end_the_service(yard):
    crew = yard.open(crash)
    crew._places[0].deaths = 5000
    yard.die(1)
    yard.clock.pass_by(60)
    crew.tend()
    assert len(crew.sentinels) == 1


@pytest.mark.parametrize(
    ("work", "cause"),
    [
        (crash, "it ended with exit code 7"),
        (be_killed, "killed by signal 9: Killed"),
        (miss_a_library, "it could not begin: ImportError"),
    ],
)
def test_that_no_worker_lives_is_told_by_log_health_and_an_alert_at_once_and_more_at_the_third_death(
    yard, caplog, work, cause
):
    crew = yard.open(work)
    assert crew.problems() == ["no worker is ready yet: bundles are being loaded"]
    assert yard.told(Kind.WORKERS) == []
    yard.die(2)
    assert [record.getMessage() for record in caplog.records] == [f"a worker died: {cause}"] * 2
    assert crew.problems() == [f"no worker lives: they died ({cause}), and are started again; see the log"]
    assert yard.told(Kind.WORKERS) == crew.problems()
    yard.die(1)
    assert yard.told(Kind.WORKERS) == [
        f"1 of 1 die again and again, one 3 times so far ({cause}); see the log"
    ]


def test_one_that_is_ready_and_lives_for_a_minute_ends_the_alert(yard):
    crew = yard.open(crash)
    yard.die(3)
    yard.let(work_well)
    yard.clock.pass_by(60)
    yard.tend_until(lambda: not crew.problems())
    assert "exit code 7" in yard.told(Kind.WORKERS)[0], "it may die again"
    yard.clock.pass_by(60)
    crew.tend()
    assert yard.told(Kind.WORKERS) == []


def test_one_that_loads_for_long_and_dies_at_its_first_study_begins_no_new_row(yard):
    crew = yard.open(die_when_ready)
    for deaths in range(1, 4):
        yard.clock.pass_by(5)
        yard.tend_until(lambda: crew.sentinels)
        yard.clock.pass_by(70)
        wait(crew.sentinels, PATIENCE)
        yard.tend_until(lambda deaths=deaths: crew._places[0].deaths == deaths)
    assert yard.told(Kind.WORKERS)


def test_one_that_died_and_is_ready_again_ends_the_alert(yard):
    crew = yard.open(work_well)
    yard.tend_until(lambda: not crew.problems())
    yard.let(wait_for_nothing)
    crew._places[0].process.kill()
    yard.tend_until(lambda: yard.told(Kind.WORKERS))
    assert yard.told(Kind.WORKERS) == crew.problems(), "the status says what health says"
    yard.let(work_well)
    crew._places[0].process.kill()
    yard.tend_until(lambda: crew._places[0].deaths == 2)
    yard.clock.pass_by(60)
    yard.tend_until(lambda: not crew.problems())
    crew.tend()
    assert yard.told(Kind.WORKERS) == []


def test_of_several_workers_one_that_dies_is_told_though_the_other_works(yard):
    crew = yard.open(work_well, workers=2)
    yard.tend_until(lambda: len([place for place in crew._places if place.ready]) == 2)
    yard.let(crash)
    for deaths in range(1, 4):
        if deaths == 1:
            crew._places[1].process.kill()
        yard.tend_until(lambda deaths=deaths: crew._places[1].deaths == deaths)
        yard.clock.pass_by(59.9)
    assert crew.problems() == []
    assert yard.told(Kind.WORKERS)[0].startswith("1 of 2 die")


def test_a_cluster_that_takes_no_studies_is_told_until_it_does(yard):
    crew = yard.open(find_no_cluster)
    yard.tend_until(lambda: yard.told(Kind.CLUSTER))
    assert yard.told(Kind.CLUSTER) == ["expected a worker, got none"]
    assert crew.problems() == ["cluster: expected a worker, got none"]
    yard.let(find_a_cluster_again)
    crew._places[0].process.kill()
    yard.tend_until(lambda: not crew.problems())
    assert yard.told(Kind.CLUSTER) == []


def test_wrong_settings_end_the_service(yard):
    yard.open(find_settings_wrong)
    with pytest.raises(UsageError, match=r"^bundle x: expected one, got none$"):
        yard.die(1)


def test_settings_that_once_were_right_do_not_end_it(yard):
    crew = yard.open(work_well)
    yard.tend_until(lambda: not crew.problems())
    yard.let(find_settings_wrong)
    crew._places[0].process.kill()
    yard.tend_until(lambda: not crew.sentinels)
    assert "bundle x: expected one, got none" in crew.problems()[0]


def test_a_worker_that_is_never_ready_is_hopeless_and_one_that_was_is_not(yard):
    crew = yard.open(crash)
    yard.die(4)
    assert crew.hopeless is None
    yard.die(1)
    assert crew.hopeless == "it ended with exit code 7"
    yard.let(work_well)
    yard.clock.pass_by(60)
    yard.tend_until(lambda: not crew.problems())
    crew._places[0].process.kill()
    yard.tend_until(lambda: crew._places[0].deaths == 6)
    assert crew.hopeless is None


def test_a_process_that_cannot_be_started_now_is_started_later(yard, monkeypatch):
    crew = yard.open(work_well)

    def start(process):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    with monkeypatch.context() as full:
        full.setattr(module._PROCESSES.Process, "start", start)
        crew.tend()
        crew.tend()
    assert "it could not be started: Cannot allocate memory" in crew.problems()[0]
    yard.clock.pass_by(60)
    yard.tend_until(lambda: not crew.problems())


def recovered(monkeypatch):
    """Of what the workers died whose hands were looked at."""
    deaths = []

    def recover(hands, ledger, policy, death):
        deaths.append(death)
        hands.path.unlink()

    monkeypatch.setattr(module, "recover", recover)
    return deaths


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (WorkLimits(stage_seconds=0.0), "too-slow"),
        (WorkLimits(memory_bytes=1 << 20), "too-much-memory"),
    ],
)
def test_a_worker_that_takes_too_much_is_killed_and_its_study_blamed(yard, monkeypatch, limits, code):
    deaths = recovered(monkeypatch)
    crew = yard.open(work_on_one_study, limits=limits)
    yard.tend_until(lambda: deaths)
    assert [death.code for death in deaths] == [code]
    yard.tend_until(lambda: crew._places[0].deaths)
    assert crew._places[0].cause == deaths[0].reason


def test_the_limit_of_memory_is_for_who_makes_studies_and_not_for_who_has_a_cluster_make_them(yard):
    crew = yard.open(
        work_on_one_study,
        limits=WorkLimits(memory_bytes=1 << 20),
        cluster=ClusterSettings("tcp://head:8786"),
    )
    yard.tend_until(lambda: not crew.problems())
    board = hands_folder(yard.settings)
    assert len(list(board.glob("*.json"))) == 1, "it is looked at"
    crew.tend()
    assert crew._killed == {}


def test_what_a_killed_worker_had_is_recovered(yard, monkeypatch):
    deaths = recovered(monkeypatch)
    crew = yard.open(work_on_one_study)
    yard.tend_until(lambda: not crew.problems())
    crew._places[0].process.kill()
    yard.tend_until(lambda: deaths)
    assert deaths == [DIED]


def test_stopping_ends_all_workers(yard):
    crew = yard.open(work_well, workers=2)
    yard.tend_until(lambda: not crew.problems())
    processes = [place.process for place in crew._places]
    crew.stop(lambda: False)
    assert [process.is_alive() for process in processes] == [False, False]
    assert crew.sentinels == []


def test_a_worker_knows_whether_one_was_ready_before(yard):
    crew = yard.open(work_well)
    yard.tend_until(lambda: crew.problems() == [])
    yard.let(refuse_at_the_first_start)
    os.kill(crew._places[0].process.pid, signal.SIGKILL)
    yard.die(1)
    yard.tend_until(lambda: crew.problems() == [])
    assert crew._places[0].deaths == 1


def test_a_cluster_that_is_away_ends_nothing_once_a_worker_was_ready(yard):
    crew = yard.open(wait_for_a_cluster)
    yard.tend_until(lambda: crew.unreached is not None)
    assert crew.unreached == "expected a scheduler"
    yard.let(work_well)
    crew._places[0].process.kill()
    yard.tend_until(lambda: not crew.problems())
    yard.let(wait_for_a_cluster)
    crew._places[0].process.kill()
    yard.clock.pass_by(60)
    yard.tend_until(lambda: crew.problems() == ["expected a scheduler"])
    assert crew.unreached is None
