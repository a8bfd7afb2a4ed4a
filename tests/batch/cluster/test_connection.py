"""Who may make studies: a worker that differs is refused by name, and makes nothing even when it is asked."""

from __future__ import annotations

import errno
import os
import pickle
import time
from dataclasses import replace
from pathlib import Path
from threading import Event, Timer, active_count

import psutil
import pytest

from medkit.batch.cluster import connection
from medkit.batch.cluster.connection import Cluster, WorkersGone
from medkit.batch.cluster.fitness import seal, traits
from medkit.batch.cluster.order import BEGUN, Order, Outcome, OutcomeKind, Terms, Work
from medkit.batch.cluster.settings import ClusterSettings
from medkit.batch.cluster.task import make_study
from medkit.batch.ledger import LeaseLost
from medkit.batch.making import BundleSettings, Outputs
from medkit.batch.spool import Spool, SpoolLimits
from medkit.dicom.limits import Limits
from medkit.errors import UsageError
from tests.batch.cluster.machines import GPU, Machines
from tests.batch.making.studies import ROOT, RULE, write_study
from tests.batch.service.studies import study_hash
from tests.dicom.network.certificates import make_certificates
from tests.servers.loopback import free_port
from tests.tiny_bundle import NAME

HUNG = """
import time
from medkit.batch.cluster import fitness
fitness._seen = lambda *_: time.sleep(600)
"""


WITHOUT_MAKING = """
import sys
sys.modules["medkit.batch.cluster.making"] = None
"""
UNREADABLE = """
from medkit.batch.cluster import fitness
def refuse():
    raise PermissionError(13, "Permission denied", "rules.py")
fitness._sources = refuse
"""


@pytest.fixture
def join(machines, bundle_root, tmp_path):
    """Open a cluster; what it says of its troubles is in a list."""
    joined = []

    def join(seen: Path | None = None, refuse: bool = True, **settings):
        said: list[str | None] = []
        folder = tmp_path / "spool"
        cluster = Cluster(
            ClusterSettings(machines.address, **settings),
            {folder: seen or folder},
            {NAME: str(bundle_root)},
            said.append,
        )
        joined.append(cluster)
        cluster.open(Event(), refuse)
        return cluster, said

    yield join
    for cluster in joined:
        cluster.close()


def order_for(folder: Path, bundle_root: Path, **terms) -> Order:
    work = Work((RULE,), Outputs(), Limits(), {NAME: BundleSettings(location=bundle_root)}, "cpu")
    fixed = {
        "spool": str(folder / "spool"),
        "traits": traits(),
        "makers": {NAME: "another"},
        "stage_seconds": 600.0,
        "memory_bytes": None,
        "work": work.packed(),
    }
    (folder / "claim").mkdir()
    return Order("f" * 64, "f" * 64, (), (), str(folder / "claim"), Terms(**fixed | terms))


def order_for_a_study(folder: Path, bundle_root: Path, **terms) -> Order:
    spool = Spool(folder / "spool", SpoolLimits(free_bytes=0))
    for path in sorted(write_study(folder / "study").iterdir()):
        with path.open("rb") as file:
            stored = spool.store(f"{ROOT}.1", path.stem, file)
    order = order_for(folder, bundle_root, **terms)
    return replace(order, study=stored.study, digest=spool.digest(stored.study))


def test_workers_that_are_fit_are_taken_by_their_resources(join):
    cluster, said = join(resources=GPU)
    cluster.tend()
    assert cluster.ready
    assert said in ([], [None])


def test_a_cluster_without_workers_is_in_trouble_once_a_study_waits_for_long(
    join, bundle_root, tmp_path, monkeypatch
):
    cluster, said = join(resources={"GPU": 2})
    looks = []

    def look(fit_left):
        cluster.tend()
        looks.append(list(said))
        monkeypatch.setattr(connection, "_START_SECONDS", 0.0)
        if len(looks) == 2:
            raise LeaseLost("enough")

    cluster.tend()
    assert said == []
    assert cluster.ready, "the cluster may start one when a study waits for it"
    with pytest.raises(LeaseLost):
        cluster.run(order_for(tmp_path, bundle_root), look)
    trouble = "cluster: expected a worker with GPU=2, got none"
    assert looks == [[], [trouble]]
    cluster.tend()
    assert said == [trouble, None], "nothing waits any more"


def test_a_worker_that_does_not_see_the_folder_is_refused(join, machines, tmp_path):
    with pytest.raises(UsageError, match="No such file or directory") as refusal:
        join(seen=tmp_path / "elsewhere")
    assert any(worker in str(refusal.value) for worker in machines.workers())
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"folder of the batch .* seen, got"):
        join(seen=tmp_path / "empty")
    assert list((tmp_path / "spool").iterdir()) == [], "nothing is left of the question"


def test_a_worker_without_a_nanny_is_refused(join, machines):
    with machines.extra_worker("--no-nanny") as worker, pytest.raises(UsageError, match="nanny") as refusal:
        join()
    assert worker in str(refusal.value)


def test_another_version_on_one_worker_is_refused_by_name_and_makes_nothing(
    join, machines, bundle_root, tmp_path
):
    other = tmp_path / "other.py"
    other.write_text("import medkit\nmedkit.__version__ = '0.0.1'\n", encoding="utf-8")
    with machines.extra_worker("--preload", str(other)) as worker:
        with pytest.raises(UsageError, match=r"expected medkit \S+, got 0\.0\.1") as refusal:
            join()
        assert worker in str(refusal.value)
        cluster, _ = join(refuse=False)
        assert cluster.ready
        assert (cluster._fit.isdisjoint({worker}), set(cluster._unfit)) == (True, {worker})
        with machines.client() as client:
            order = order_for(tmp_path, bundle_root)
            outcome = client.submit(make_study, pickle.dumps(order), workers=[worker], pure=False).result()
    assert (outcome.kind, outcome.worker) == (OutcomeKind.UNFIT, worker)
    assert "expected medkit" in outcome.said
    assert not (Path(order.folder) / BEGUN).exists()


def test_another_bundle_than_the_services_makes_nothing_and_a_folder_is_for_one_attempt(
    machines, bundle_root, tmp_path
):
    order = order_for_a_study(tmp_path, bundle_root)
    with machines.client() as client:
        outcome = client.submit(make_study, pickle.dumps(order), pure=False).result()
        assert outcome.kind is OutcomeKind.UNFIT, outcome
        assert NAME in outcome.said
        assert client.submit(make_study, pickle.dumps(order), pure=False).result().kind is OutcomeKind.BEGUN
        assert Outcome.left_in(Path(order.folder)) == outcome, "should its worker die before it tells"
        (tmp_path / "again").mkdir()
        unmounted = replace(order.terms, spool=str(tmp_path / "empty"))
        lost = Order(order.study, order.digest, (), (), str(tmp_path / "again"), unmounted)
        outcome = client.submit(make_study, pickle.dumps(lost), pure=False).result()
        assert (outcome.kind, (tmp_path / "empty").exists()) == (OutcomeKind.UNFIT, False)
        assert list((tmp_path / "again").iterdir()) == [], "another worker may begin"
        gone = Order(study_hash(1), "f" * 64, (), (), str(tmp_path / "gone"), order.terms)
        assert client.submit(make_study, pickle.dumps(gone), pure=False).result().kind is OutcomeKind.UNSEEN
        assert not (tmp_path / "gone").exists()
    assert list(Path(order.folder).rglob("*.dcm")) == []


def test_what_is_no_scheduler_is_refused(tmp_path):
    cluster = Cluster(ClusterSettings("nonsense://host:1"), {}, {}, [].append)
    with pytest.raises(UsageError, match="expected the address of a scheduler"):
        cluster.open(Event())


def test_connections_are_encrypted_and_a_stranger_is_not_let_in(tmp_path):
    made = make_certificates(tmp_path)
    machines = Machines(tmp_path, made.server)
    try:
        for tls, lets_in in ((made.client, True), (made.stranger, False)):
            stop, said = Event(), []

            def tell(trouble, stop=stop, said=said):
                said.append(trouble)
                stop.set()

            cluster = Cluster(ClusterSettings(scheduler_file=machines.file, tls=tls), {}, {}, tell)
            cluster.open(stop)
            assert cluster.ready is lets_in
            assert [
                f"cluster: expected a scheduler at {machines.file}, got:" in str(one) for one in said
            ] == ([] if lets_in else [True])
            cluster.close()
    finally:
        machines.close()


def test_asking_in_vain_leaves_no_threads_and_no_files_open(monkeypatch):
    monkeypatch.setattr(connection, "_CONNECT_SECONDS", 0.2)
    cluster = Cluster(ClusterSettings(f"tcp://127.0.0.1:{free_port()}"), {}, {}, [].append)
    cluster.tend()
    before = active_count(), psutil.Process().num_fds()
    for _ in range(4):
        cluster.tend()
    assert (active_count(), psutil.Process().num_fds()) == before


def test_a_worker_that_does_not_answer_is_unfit_and_keeps_nobody_waiting(monkeypatch, tmp_path, machines):
    hung = tmp_path / "hung.py"
    hung.write_text(HUNG, encoding="utf-8")
    folder = tmp_path / "spool"
    said: list[str | None] = []
    cluster = Cluster(ClusterSettings(machines.address), {folder: folder}, {}, said.append)
    cluster.open(Event())
    with machines.extra_worker("--preload", str(hung)) as worker:
        began = cluster.tend()
        assert began < 1, "it was asked, and is not waited for"
        assert (cluster.ready, worker in cluster._asked) == (True, True)
        stop = Event()
        Timer(0.5, stop.set).start()
        cluster.open(stop)
        assert worker in cluster._asked
        cluster.close()
        monkeypatch.setattr(connection, "_ANSWER_SECONDS", 3.0)
        again = Cluster(ClusterSettings(machines.address), {folder: folder}, {}, said.append)
        with pytest.raises(UsageError, match="within 3 s, got none") as refusal:
            again.open(Event())
        assert worker in str(refusal.value)
        again.close()
    assert list(folder.glob(".seen-*")) == []


def test_a_worker_that_cannot_run_what_it_is_given_is_left_out_and_the_study_goes_back(
    join, machines, bundle_root, tmp_path
):
    without = tmp_path / "without.py"
    without.write_text(WITHOUT_MAKING, encoding="utf-8")
    order = order_for(tmp_path, bundle_root)
    with machines.extra_worker("--preload", str(without), "--resources", "ODD=1") as worker:
        cluster, _ = join(resources={"ODD": 1})
        assert cluster._fit == {worker}
        with pytest.raises(WorkersGone):
            cluster.run(order, bool)
        assert cluster._fit == set()
        assert "ModuleNotFoundError; install the same medkit" in cluster._unfit[worker][0]
    assert not (Path(order.folder) / BEGUN).exists()


class Failed:
    """A study that the scheduler could not even read."""

    key, status = "medkit-1", "error"

    @property
    def client(self):
        return self

    def done(self) -> bool:
        return True

    def result(self, timeout: float):
        raise RuntimeError("Error during deserialization of the task graph")

    def run_on_scheduler(self, *_, **__):
        raise ModuleNotFoundError("medkit")

    def release(self) -> None:
        pass


def test_a_study_that_the_scheduler_cannot_read_goes_back_and_no_worker_is_left_out(
    monkeypatch, bundle_root, tmp_path, caplog
):
    cluster = Cluster(ClusterSettings("tcp://head:8786"), {}, {}, [].append)
    monkeypatch.setattr(cluster, "_submit", lambda *_: Failed())
    with pytest.raises(WorkersGone):
        cluster.run(order_for(tmp_path, bundle_root), bool)
    assert cluster._unfit == {}
    (told,) = caplog.messages
    assert "got a RuntimeError; install the same medkit with its scheduler" in told


class Waiting:
    """A study on the cluster that has not ended."""

    key, status = "medkit-1", "pending"

    def done(self) -> bool:
        return False

    def release(self) -> None:
        pass


def test_a_study_on_an_excluded_worker_is_asked_after_and_ends_as_a_death_once_that_is_gone(
    monkeypatch, bundle_root, tmp_path
):
    cluster = Cluster(ClusterSettings("tcp://head:8786"), {}, {}, [].append)
    monkeypatch.setattr(cluster, "_submit", lambda *_: Waiting())
    known = {"resources": {}, "nanny": "tcp://nanny:1"}
    cluster._fit = {"a"}
    cluster._unfit = {"b": ("another medkit", time.monotonic())}
    cluster._see({"a": known, "b": known}, None)
    looks = []

    def look(fit_left):
        looks.append(fit_left)
        if len(looks) == 1:
            cluster.exclude("a", "a bundle that does not load")
        if len(looks) == 3:
            cluster._see({"b": known}, None)

    with pytest.raises(WorkersGone):
        cluster.run(order_for(tmp_path, bundle_root), look)
    assert looks == [True, False, False]


def test_a_folder_that_is_full_is_told_as_such_and_the_rest_of_an_earlier_question_goes(
    join, monkeypatch, tmp_path
):
    folder = tmp_path / "spool"
    seal(folder, "0123")
    cluster, said = join()
    assert list(folder.iterdir()) == []

    def full(path, *_, **__):
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as disk:
        disk.setattr(Path, "write_text", full)
        cluster._fit.clear()
        for _ in range(2):
            cluster.tend()
    trouble = "cluster: expected folders of the batch that can be written, got: No space left on device"
    assert said == [trouble], "it is told once"
    assert list(folder.iterdir()) == []
    while cluster.tend() < 1:
        time.sleep(0.01)
    assert (said[1:], cluster.ready) == ([None], True)


def test_a_worker_that_cannot_read_its_own_medkit_is_told_and_not_taken_for_gone(join, machines, tmp_path):
    unreadable = tmp_path / "unreadable.py"
    unreadable.write_text(UNREADABLE, encoding="utf-8")
    with machines.extra_worker("--preload", str(unreadable)) as worker:
        with pytest.raises(
            UsageError, match=r"got PermissionError: .*Permission denied: 'rules\.py'"
        ) as refusal:
            join()
        assert worker in str(refusal.value)


def test_a_half_written_scheduler_file_is_a_trouble_and_no_end(machines, tmp_path):
    file, said = tmp_path / "scheduler.json", []
    cluster = Cluster(ClusterSettings(scheduler_file=file), {}, {}, said.append)
    whole = machines.file.read_text(encoding="utf-8")
    file.write_text(whole[:20], encoding="utf-8")
    cluster.tend()
    assert f"expected a scheduler at {file}, got: a file that is not written to its end" in said[-1]
    Timer(0.5, lambda: file.write_text(whole, encoding="utf-8")).start()
    cluster.open(Event())
    assert cluster.ready
    cluster.tend()
    assert said[-1] is None
    cluster.close()
