"""The plan of faults follows from its seed and has all of them; what is broken is so in every way."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import psutil
import pytest
from batch_faults import ARCHIVE, BOTH, EVENTS, FULL, LOW, SERVICE, WORKER, Faults, Run, make_samples
from batch_pages import faults_page
from batch_studies import WAYS, Sample

from medkit.batch.identity import hash_uid
from medkit.batch.ledger import Claim, Stage, State
from medkit.batch.service.flights import FlightBoard


def plan(count: int, seed: int) -> list[str]:
    return Faults(Run([]), random.Random(seed), None, None, None).plan(count)


@pytest.mark.parametrize("seed", range(5))
def test_every_fault_happens_as_often_as_it_should_and_the_disk_is_full_early(seed):
    assert Counter(plan(200, seed)) == EVENTS
    assert set(plan(10, seed)) == {WORKER, SERVICE, BOTH, ARCHIVE, LOW, FULL}
    places = [number for number, event in enumerate(plan(200, seed)) if event in (LOW, FULL)]
    assert max(places) < sum(EVENTS.values()) / 2


def test_the_seed_is_the_plan():
    assert plan(200, 1) == plan(200, 1) != plan(200, 2)


def test_one_in_twenty_is_broken_in_ways_that_take_turns(tmp_path):
    samples = make_samples(tmp_path, 30, random.Random(1))
    assert len({sample.study for sample in samples}) == len(samples) == 30
    assert [sample.way for sample in sorted(samples, key=lambda one: one.number) if sample.way] == list(WAYS)[
        :2
    ]
    assert make_samples(tmp_path, 30, random.Random(1)) == samples
    assert [sample.number for sample in samples] != list(range(30))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "**GOOD: "),
        ({"ended": False}, "**FAILED: studies had not ended"),
        ({"exit_code": 4}, "**FAILED: see below"),
    ],
)
def test_the_page_says_how_it_ended(tmp_path, changes, said):
    run = Run(
        [Sample(1, tmp_path), Sample(2, tmp_path, "two patients")], seconds=600, ended=True, exit_code=0
    )
    run.happened.update({WORKER: 3, SERVICE: 2, BOTH: 1, ARCHIVE: 1})
    run.ends[str(State.DELIVERED), None] = 1
    for name, value in changes.items():
        setattr(run, name, value)
    page = faults_page(run, 7, 4)
    assert said in page
    assert "2 studies, 1 of them broken, 4 workers" in page
    assert "6 kills (-9)" in page
    assert run.good == (not changes)


@pytest.mark.parametrize(
    ("excused", "said"),
    [
        (0, "at both destinations once, every broken one ended for its reason.**"),
        (1, "once, 2 broken ones ended for their reason, 1 killed at every attempt that did not show it.**"),
    ],
)
def test_the_page_says_how_many_broken_studies_were_excused(tmp_path, excused, said):
    samples = [Sample(number, tmp_path, way) for number, way in enumerate(list(WAYS)[:3])]
    run = Run([*samples, Sample(3, tmp_path)], ended=True, exit_code=0)
    run.verdicts.excused = excused
    assert said in faults_page(run, 1, 4)


def test_a_lost_study_is_a_failure_and_stands_on_the_page(tmp_path):
    run = Run([Sample(1, tmp_path)], ended=True, exit_code=0)
    run.verdicts.faults["lost"].append("archive, study 1: 1.2.3 is not there")
    assert not run.good
    page = faults_page(run, 1, 4)
    assert "**FAILED: see below" in page
    assert "| lost | 1 | archive, study 1: 1.2.3 is not there |" in page


@pytest.fixture
def worker(tmp_path):
    """The site of a service, and a process that is told to have a study at work in its hands and another that waits."""
    folder = tmp_path / "work" / "workers"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        board = FlightBoard(folder, "worker-1")
        for name, stage in (("a", "network"), ("b", None)):
            board.note(Claim(hash_uid(name), 1, "d" * 64, Stage.MAKE, 1, 1, 1000.0), stage)
        content = json.loads(board.path.read_text()) | {
            "pid": process.pid,
            "started": psutil.Process(process.pid).create_time(),
        }
        board.path.write_text(json.dumps(content))
        yield SimpleNamespace(job=SimpleNamespace(work=tmp_path / "work")), process
        process.kill()


def test_what_a_killed_worker_was_at_work_on_is_counted(worker):
    site, process = worker
    run = Run([])
    faults = Faults(run, random.Random(1), SimpleNamespace(site=site), None, None)
    assert faults._busy() == [process.pid]
    faults._kill_worker()
    assert process.wait(10) < 0
    assert run.hits == {hash_uid("a"): 1}
