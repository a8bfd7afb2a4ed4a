"""Real processes on one file, killed by SIGKILL at random: all studies end exactly once."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from medkit.batch.identity import hash_uid
from medkit.batch.ledger import Ledger, State
from tests.batch.ledger.stories import arrive, content
from tests.batch.ledger.worker_process import POLICY, objects

STUDIES = [hash_uid(str(number)) for number in range(40)]
KILLS = 8
ROOT = Path(__file__).parents[3]


def test_workers_that_are_killed_lose_and_double_nothing(tmp_path):
    path, archive = tmp_path / "ledger.sqlite", tmp_path / "archive"
    archive.mkdir()
    with Ledger(path, "node", POLICY) as ledger:
        for study in STUDIES:
            arrive(ledger, "1", study=study)
        killed = run_and_kill(ledger, path, archive, random.Random(0))
        assert killed == KILLS
        check(ledger, archive)


def run_and_kill(ledger, path, archive, random_numbers) -> int:
    started, killed = 0, 0
    running = []
    try:
        while ledger.counts()[State.DELIVERED] < len(STUDIES):
            assert started < 100, "workers end before their work"
            running = [process for process in running if process.poll() is None]
            while len(running) < 3:
                started += 1
                command = [sys.executable, "-m", "tests.batch.ledger.worker_process"]
                running.append(subprocess.Popen([*command, path, archive, f"worker{started}"], cwd=ROOT))
            time.sleep(random_numbers.uniform(0.0, 0.05))
            busy = [study.owner for study in ledger.studies() if study.owner]
            victims = [process for process in running if process.args[-1] in busy]
            if killed < KILLS and victims:
                victim = random_numbers.choice(victims)
                victim.kill()
                victim.wait()
                killed += 1
        for process in running:
            process.wait(timeout=60)
    finally:
        for process in running:
            process.kill()
            process.wait()
    return killed


def check(ledger, archive):
    assert ledger.faults() == []
    for study in STUDIES:
        assert ledger.study(study).state is State.DELIVERED
        ends = [entry for entry in ledger.history(study) if entry.after is State.DELIVERED]
        assert len(ends) == 1
        assert all(one.verified_at for one in ledger.results(study, 1))
    expected = {one.uid for study in STUDIES for one in objects(study)}
    assert {path.name for path in archive.glob("[!.]*")} == expected
    assert all((archive / uid).read_text() == content(uid) for uid in expected)
    lost = [entry for entry in ledger.history() if entry.code == "lease-lost"]
    assert lost, "no worker was killed at work: this test has lost its subject"
