"""Whole batches on a cluster of real processes: what comes of them, and what comes of killing."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import distributed
import pytest
import torch
from pydicom import dcmread

from medkit.allocator import keep_freed_memory
from medkit.batch.cluster import fitness, making, order
from medkit.batch.cluster.settings import ClusterSettings
from medkit.batch.folder import JobFolder
from medkit.batch.ledger import LedgerView, Policy, State
from medkit.batch.making import BundleSettings, BundleShelf
from medkit.batch.service.settings import Settings, WorkLimits
from medkit.batch.spool import SpoolLimits
from medkit.errors import MedkitError
from tests.batch.cluster.machines import GPU
from tests.batch.cluster.test_connection import order_for, order_for_a_study
from tests.batch.making.studies import PATIENT, RULE
from tests.batch.service.conftest import PATIENCE, started, wait_for
from tests.batch.service.steps import DEADLY, SLOW
from tests.batch.service.studies import ROOT, check_delivered_once, study_hash, write_numbered
from tests.test_allocator import mapped
from tests.tiny_bundle import NAME

RUN = "tests.batch.service.run_process"


@pytest.fixture
def settings(tmp_path, bundle_root, machines):
    (tmp_path / "out").mkdir()
    (tmp_path / "seen").symlink_to(tmp_path / "job")  # as it is mounted elsewhere
    return Settings(
        job=JobFolder(tmp_path / "job"),
        rules=(RULE,),
        folders={"out": tmp_path / "out"},
        bundles={NAME: BundleSettings(location=bundle_root)},
        spool=SpoolLimits(free_bytes=0),
        policy=Policy(attempts=2, delay_seconds=0.1),
        device="cpu",
        limits=WorkLimits(stop_seconds=60),
        status_port=None,
        cluster=ClusterSettings(machines.address, studies=4, resources=GPU, folder=tmp_path / "seen"),
    )


def run(settings, folder):
    (folder / "settings").write_bytes(pickle.dumps(settings))
    return started(RUN, str(folder / "settings"), str(folder / "in"), log=folder / "log")


def run_to_its_end(settings, folder):
    with run(settings, folder) as process:
        assert process.wait(PATIENCE) == 0, (folder / "log").read_text()[-3000:]
    return check_delivered_once(settings.job, folder / "out")


def delivered(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.dcm")}


def test_results_are_those_of_a_local_worker_and_what_kills_workers_is_set_aside(
    settings, tmp_path, machines
):
    for number in range(4):
        folder = tmp_path / "in" / str(number)
        write_numbered(folder, number, DEADLY) if number == 1 else write_numbered(folder, number)
    states = run_to_its_end(settings, tmp_path)
    deadly = study_hash(1)
    assert {study for study, state in states.items() if state is not State.DELIVERED} == {deadly}
    with LedgerView(settings.job.ledger) as view:
        assert (view.study(deadly).state, view.study(deadly).code) == (State.QUARANTINED, "worker-died")
        blamed = Counter(entry.study for entry in view.history() if entry.code == "worker-died")
        assert blamed == {deadly: settings.policy.attempts}, "neighbours are never blamed"
        assert {"read", "predict", "write"} <= view.timings().keys()
    assert not list(settings.job.results.rglob(".*")), "nothing is left half-made"
    text = machines.log.read_text()
    assert "Restarting worker" in text, "the log is looked at"
    assert [word for word in (*PATIENT, ROOT) if word in text] == []
    with machines.client() as client:
        worked = client.run(lambda: "medkit.batch.cluster.making" in sys.modules)
        kept = client.run(mapped)
    assert not any(kept[address] for address, did in worked.items() if did), "memory is kept"
    names = {address: info["name"] for address, info in machines.workers().items()}
    assert "plain" not in {names[address] for address, did in worked.items() if did}

    (tmp_path / "by-hand").mkdir()
    (tmp_path / "in" / "1").rename(tmp_path / "deadly")
    local = replace(settings, job=JobFolder(tmp_path / "local"), cluster=None)
    with run(replace(local, folders={"out": tmp_path / "by-hand"}), tmp_path) as process:
        assert process.wait(PATIENCE) == 0, (tmp_path / "log").read_text()[-3000:]
    assert len(delivered(tmp_path / "by-hand")) == 9
    assert delivered(tmp_path / "out") == delivered(tmp_path / "by-hand")


def test_what_takes_too_long_is_ended_with_its_worker_which_starts_again(settings, tmp_path, machines):
    before = machines.pids()
    limits = WorkLimits(stage_seconds=1, stop_seconds=60)
    write_numbered(tmp_path / "in" / "3", 3, SLOW)
    states = run_to_its_end(replace(settings, policy=Policy(attempts=1), limits=limits), tmp_path)
    assert states == {study_hash(3): State.QUARANTINED}
    with LedgerView(settings.job.ledger) as view:
        assert view.study(study_hash(3)).code == "too-slow"
    machines.wait_until(lambda: machines.pids().keys() == before.keys())
    assert len(set(before.values()) - set(machines.pids().values())) == 1


def test_a_worker_and_the_service_are_killed_and_every_study_is_delivered_once(settings, tmp_path, machines):
    settings = replace(settings, policy=Policy(attempts=6, delay_seconds=0.1))
    numbers = range(10, 15)
    for number in numbers:
        write_numbered(tmp_path / "in" / str(number), number)
    log = tmp_path / "log"

    def begun():
        return list(settings.job.results.glob("*/*/*/.begun"))

    with run(settings, tmp_path) as process:
        wait_for(lambda: bool(begun()) or process.poll() == 0, process, log)
        with suppress(ProcessLookupError):
            os.kill(machines.pids()["first"], signal.SIGKILL)
        wait_for(lambda: bool(begun()) or process.poll() == 0, process, log)
        process.kill()  # its tasks stay on the cluster
    states = run_to_its_end(settings, tmp_path)
    assert states == {study_hash(number): State.DELIVERED for number in numbers}
    kept = [path for path in settings.job.results.glob("*/*/*") if path.is_dir()]
    assert len(kept) == len(states)


def test_a_worker_whose_gpu_failed_begins_nothing(tmp_path, bundle_root, monkeypatch):
    monkeypatch.setattr(fitness, "device_fault", lambda: "RuntimeError")
    one = order_for(tmp_path, bundle_root)
    with pytest.raises(MedkitError, match=r"^expected a GPU that answers, got RuntimeError$"):
        making._begin(one)
    assert list(Path(one.folder).iterdir()) == []


def exit_code(work):
    """That of a process of its own which does some work; 7 where that comes to its end."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # what PyTorch gives to threads is never done where they were lost in a fork
        try:
            work()
        finally:
            os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_bundle_that_hangs_while_it_is_loaded_ends_its_worker_too(tmp_path, bundle_root, monkeypatch):
    monkeypatch.setattr(BundleShelf, "take", lambda *_: time.sleep(30))
    one = order_for_a_study(tmp_path, bundle_root, stage_seconds=2.0)
    assert exit_code(lambda: making._make(one, "here")) == 1
    assert "_check_bundle" in (Path(one.folder) / order.SLOW).read_text(encoding="utf-8")


def order_to_be_made(tmp_path, bundle_root):
    one = order_for_a_study(tmp_path, bundle_root)
    identity = BundleShelf({NAME: BundleSettings(location=bundle_root)}).take(NAME).maker.identity
    return replace(one, terms=replace(one.terms, makers={NAME: identity}))


def test_what_an_order_says_for_the_reports_is_in_them(tmp_path, bundle_root):
    said = "20 instances came after the earlier ones (72) had been removed"
    one = replace(order_to_be_made(tmp_path, bundle_root), notes=(said,))
    assert making._make(one, "here").kind is order.OutcomeKind.MADE
    (report,) = Path(one.folder).rglob("*.sr.dcm")
    assert said in [item.get("TextValue") for item in dcmread(report).ContentSequence]


def test_a_worker_that_hangs_before_a_study_is_begun_ends_and_no_study_is_to_blame(
    tmp_path, bundle_root, monkeypatch
):
    monkeypatch.setattr(distributed, "get_worker", lambda: SimpleNamespace(address="here"))
    monkeypatch.setattr(making, "store_fault", lambda _: time.sleep(30))
    one = order_for_a_study(tmp_path, bundle_root, stage_seconds=1.0)
    assert exit_code(lambda: making.make(one)) == 1
    assert list(Path(one.folder).iterdir()) == []


def test_freed_memory_is_given_back_after_a_study(tmp_path, bundle_root, monkeypatch):
    monkeypatch.setattr(distributed, "get_worker", lambda: SimpleNamespace(address="here"))
    for name in ("be_quiet", "keep_freed_memory"):  # of a whole process, and this one makes more than studies
        monkeypatch.setattr(making, name, Mock())
    give_back = Mock()
    monkeypatch.setattr(making, "give_back_now_and_then", give_back)
    assert making.make(order_to_be_made(tmp_path, bundle_root)).kind is order.OutcomeKind.MADE
    assert give_back.call_count == 1


def test_a_worker_is_set_by_its_nanny_to_give_memory_back(machines, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # as the page says
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    with machines.extra_worker() as worker, machines.client() as client:

        def run(function, *arguments):
            return client.run(function, *arguments, workers=[worker])[worker]

        assert run(os.getenv, "OMP_NUM_THREADS") == "3"
        assert run(os.getenv, "MALLOC_TRIM_THRESHOLD_") == "65536"
        assert run(mapped)
        assert run(keep_freed_memory)
        assert not run(mapped)
