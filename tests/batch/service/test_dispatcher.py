"""What a dispatcher makes of what a cluster says, by a cluster that says what it is told to."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event, Thread
from threading import enumerate as living

import pytest
from pydicom.errors import InvalidDicomError

from medkit.batch.audit import AuditLog
from medkit.batch.cluster.connection import WorkersGone
from medkit.batch.cluster.order import BEGUN, SLOW, Outcome, OutcomeKind
from medkit.batch.cluster.settings import ClusterSettings
from medkit.batch.folder import JobFolder
from medkit.batch.intake.folder import take_folder
from medkit.batch.intake.take import Intake
from medkit.batch.ledger import Ledger, Policy, State
from medkit.batch.making import BundleSettings, KnownBundle, MakingContext
from medkit.batch.service.dispatcher import Dispatcher
from medkit.batch.service.flights import FlightBoard
from medkit.batch.service.settings import Settings, WorkLimits
from medkit.batch.spool import Spool, SpoolLimits
from medkit.data.hashing import hash_files
from medkit.dicom.network.content import content_hash
from medkit.errors import UsageError
from tests.batch.making.studies import RULE, shelf_of
from tests.batch.service.studies import study_hash, write_numbered
from tests.tiny_bundle import NAME


class Saying:
    """A cluster that answers each order as it is told to."""

    ready = True

    def __init__(self, answer) -> None:
        self.answer, self.excluded, self.folders = answer, [], []

    def open(self, stop: Event, refuse: bool) -> None:
        pass

    def tend(self) -> float:
        return 0.05

    def close(self) -> None:
        pass

    def exclude(self, worker: str, why: str) -> None:
        self.excluded.append((worker, why))

    def run(self, order, look):
        self.folders.append(Path(order.folder))
        return self.answer(order, look)


class Bench:
    def __init__(self, folder: Path, bundle_root: Path) -> None:
        self.settings = Settings(
            JobFolder(folder / "job"),
            (RULE,),
            bundles={NAME: BundleSettings(location=bundle_root)},
            device="cpu",
            limits=WorkLimits(stage_seconds=7),
            cluster=ClusterSettings("tcp://127.0.0.1:1"),
        )
        job = self.settings.job
        self.ledger = Ledger(job.ledger, "worker-1", Policy(attempts=2, delay_seconds=3600, lease_seconds=30))
        self.spool = Spool(job.spool, SpoolLimits(free_bytes=0))
        self.audit = AuditLog(job.audit, "worker-1")
        self.board = FlightBoard(folder / "hands", "worker-1")
        self.intake = Intake(self.ledger, self.spool, self.audit)
        self.context = MakingContext(
            self.ledger, self.spool, (RULE,), shelf_of(bundle_root), job.results, ["out"]
        )
        take_folder(write_numbered(folder / "in", 1), self.intake)

    def run(self, answer):
        """Run a dispatcher until the study was sent once and came back."""
        cluster = Saying(answer)
        dispatcher = Dispatcher(self.context, {}, self.audit, self.board, cluster, self.settings)
        dispatcher.prepare()

        def watch() -> None:
            while not cluster.folders or self.board._flights:
                Event().wait(0.02)
            dispatcher.stop()

        self.dispatcher = dispatcher
        Thread(target=watch, daemon=True).start()
        dispatcher.run()
        assert not any(folder.exists() for folder in cluster.folders), "a claim's folder goes with it"
        return cluster

    def study(self):
        return self.ledger.study(study_hash(1))


@pytest.fixture
def bench(tmp_path, bundle_root):
    bench = Bench(tmp_path, bundle_root)
    yield bench
    assert bench.ledger.faults() == []
    bench.ledger.close()


def test_a_verdict_of_a_worker_is_the_studys(bench):
    bench.run(lambda *_: Outcome(OutcomeKind.VERDICT, "w", verdict=("refused", "tilt", "so tilted", 0.0)))
    assert (bench.study().state, bench.study().code, bench.study().reason) == (
        State.REFUSED,
        "tilt",
        "so tilted",
    )


def test_instances_that_are_missed_while_some_come_are_waited_for(bench):
    def answer(order, look):
        bench.ledger.receive(order.study)
        return Outcome(OutcomeKind.VERDICT, "w", verdict=("failed", "instances-changed", "others", 0.0))

    bench.run(answer)
    assert (bench.study().state, bench.study().code) == (State.READY, "still-arriving")


def test_what_the_ledger_knows_for_the_reports_goes_with_the_order(bench, monkeypatch):
    orders = []

    def answer(order, look):
        orders.append(order)
        return Outcome(OutcomeKind.VERDICT, "w", verdict=("refused", "tilt", "so tilted", 0.0))

    monkeypatch.setattr(bench.ledger, "said_whole", lambda study, revision: (20, 72))
    bench.run(answer)
    assert orders[0].notes == (
        "20 instances came after the earlier ones (72) had been removed, and a person said that this is the whole study",
    )


@pytest.mark.parametrize(
    ("marks", "state", "code"),
    [
        ({}, State.READY, "worker-gone"),
        ({BEGUN: ""}, State.FAILED, "worker-died"),
        ({BEGUN: "", SLOW: ""}, State.FAILED, "worker-died"),
        ({BEGUN: "", SLOW: "Timeout"}, State.FAILED, "too-slow"),
    ],
)
def test_a_study_is_blamed_for_a_worker_that_had_begun_with_it(bench, marks, state, code):
    def answer(order, look):
        for name, content in marks.items():
            (Path(order.folder) / name).write_text(content)
        raise WorkersGone

    bench.run(answer)
    assert (bench.study().state, bench.study().code) == (state, code)
    assert bench.study().attempts == (state is State.FAILED)


@pytest.mark.parametrize("run_again", [True, False])
def test_what_a_worker_left_that_died_before_it_could_tell_counts(bench, run_again):
    def answer(order, look):
        (Path(order.folder) / BEGUN).touch()
        refused = Outcome(OutcomeKind.VERDICT, "w", verdict=("refused", "tilt", "so tilted", 0.0))
        refused.leave(Path(order.folder))
        if run_again:
            return Outcome(OutcomeKind.BEGUN, "v")
        raise WorkersGone

    bench.run(answer)
    assert (bench.study().state, bench.study().code) == (State.REFUSED, "tilt")


@pytest.mark.parametrize("kind", [OutcomeKind.UNFIT, OutcomeKind.UNSEEN])
def test_a_worker_that_is_unfit_gets_no_more_and_the_study_goes_back(bench, kind):
    cluster = bench.run(lambda *_: Outcome(kind, "tcp://10.0.0.7:1", said="another medkit"))
    assert cluster.excluded == [("tcp://10.0.0.7:1", "another medkit")]
    assert (bench.study().state, bench.study().attempts) == (State.READY, 0)


@pytest.mark.parametrize("begun", [True, False])
def test_a_study_whose_worker_is_excluded_meanwhile_is_waited_for_where_it_has_begun(bench, begun):
    def answer(order, look):
        if begun:
            (Path(order.folder) / BEGUN).touch()
        look(False)
        return Outcome(OutcomeKind.VERDICT, "w", verdict=("refused", "tilt", "so tilted", 0.0))

    bench.run(answer)
    state, code = (State.REFUSED, "tilt") if begun else (State.READY, "worker-unfit")
    assert (bench.study().state, bench.study().code, bench.study().attempts) == (state, code, int(begun))


def test_files_that_are_not_those_that_the_worker_wrote_are_not_published(bench):
    def answer(order, look):
        (Path(order.folder) / "003.seg.dcm").write_bytes(b"cut short")
        made = (("003.seg.dcm", "1.2", "a" * 64, "b" * 64),)
        return Outcome(OutcomeKind.MADE, "w", made=made, recipe="c" * 64)

    bench.run(answer)
    assert (bench.study().state, bench.study().code) == (State.FAILED, "disk-error")
    assert not list(bench.settings.job.results.rglob("*.dcm"))


def test_what_the_cluster_made_is_told_with_its_bundles(bench):
    maker = KnownBundle(NAME, "0.1.0", "d" * 64)

    def answer(order, look):
        folder = Path(order.folder)
        for mark in (BEGUN, SLOW):
            (folder / mark).touch()
        (folder / "003.seg.dcm").write_bytes(b"an object")
        made = (("003.seg.dcm", "2.25.7", "a" * 64, hash_files([folder / "003.seg.dcm"])),)
        makers = ((maker.name, maker.version, maker.digest),)
        refused = "1 of 2 series that rules want was refused"
        outcome = Outcome(OutcomeKind.MADE, "w", made=made, recipe="c" * 64, makers=makers, refused=refused)
        outcome.leave(folder)
        return outcome

    bench.run(answer)
    (made,) = bench.settings.job.results.rglob("*.*")
    assert made.name == "003.seg.dcm"
    assert content_hash(made) == "a" * 64, "it is delivered without being decoded again"
    made.write_bytes(b"another")
    with pytest.raises(InvalidDicomError):
        content_hash(made)
    (entry,) = bench.ledger.made_by(str(maker))
    assert (entry.study, entry.after) == (bench.study().study, State.MADE)
    assert (bench.study().code, bench.study().reason) == (
        "partly-refused",
        "1 of 2 series that rules want was refused",
    )
    lines = [
        json.loads(line) for path in sorted(bench.settings.job.audit.glob("*.jsonl")) for line in path.open()
    ]
    (told,) = [line for line in lines if line["event"] == "study-made"]
    assert (told["bundle"], told["version"], told["digest"]) == (maker.name, maker.version, maker.digest)


def test_what_no_worker_began_goes_back_when_the_dispatcher_is_stopped(bench):
    def answer(order, look):
        bench.dispatcher.stop()
        look(True)
        raise AssertionError("it was not taken back")

    bench.run(answer)
    assert (bench.study().state, bench.study().code, bench.study().attempts) == (
        State.READY,
        "worker-stopped",
        0,
    )


def test_a_study_that_is_no_longer_ours_is_not_published(bench):
    def answer(order, look):
        with Ledger(bench.settings.job.ledger, "other", bench.ledger.policy, clock=lambda: 4e9) as later:
            assert later.expire() == 1
        (Path(order.folder) / BEGUN).touch()
        (Path(order.folder) / SLOW).touch()
        return Outcome(OutcomeKind.MADE, "w", recipe="c" * 64)

    bench.run(answer)
    assert (bench.study().state, bench.study().code) == (State.READY, "lease-lost")
    assert not list(bench.settings.job.results.glob("*/*/*"))


@pytest.mark.parametrize("fit", [True, False])
def test_deliveries_go_on_while_the_scheduler_is_away(bench, monkeypatch, fit):
    delivered, seen = Event(), []

    def wait(stop, refuse):
        seen.append(delivered.wait(10))
        if not fit:
            raise UsageError("cluster: worker w: another medkit")

    cluster = Saying(None)
    cluster.open = wait
    dispatcher = Dispatcher(bench.context, {"out": None}, bench.audit, bench.board, cluster, bench.settings)
    monkeypatch.setattr(dispatcher, "_deliver_next", lambda: delivered.set() or 0.05)
    if fit:
        dispatcher.prepare()
        assert [one.name for one in living()].count("deliver") == 1
        dispatcher.stop()
        dispatcher.run()
    else:
        with pytest.raises(UsageError, match="another medkit"):
            dispatcher.prepare()
    assert seen == [True]
    assert "deliver" not in [one.name for one in living()], "or its process would never end"
