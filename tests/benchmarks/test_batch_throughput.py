"""What is measured is the rate of studies that were delivered."""

from __future__ import annotations

import subprocess
import sys
from itertools import count
from types import SimpleNamespace

import psutil
import pytest
from batch_service import make_site
from batch_studies import write_hippocampus, write_small
from batch_throughput import BUNDLE, ONE, Bench, _Used, steady, take, ways
from results import Results

from medkit.batch.ledger import LedgerView, State
from medkit.batch.service.settings import read_settings
from medkit.dicom.objects import read_uids


def test_the_rate_is_that_between_start_and_end():
    ends = [
        *range(1, 10),
        *(10 + 0.5 * number for number in range(101)),
        70.0,
        90.0,
    ]  # slow, 2 a second, slow
    assert steady(ends, 10.0, 1) == pytest.approx(7200)
    assert steady(ends, 0.0, 1) < 7000, "not all were ready yet"


def test_studies_are_taken_as_the_service_finds_them(tmp_path):
    site = make_site(
        tmp_path / "site",
        BUNDLE,
        sources={"folders": [{"folder": "in"}]},
        destinations={"folders": {"out": "out"}},
    )
    settings = read_settings(site.folder / "service.yaml")
    assert settings.job == site.job
    assert [rule.bundle for rule in settings.rules] == [BUNDLE]
    samples = [write_small(tmp_path / str(number), number) for number in range(2)]
    assert take(site, samples) > 0
    with LedgerView(site.job.ledger) as view:
        assert {record.study for record in view.studies(State.READY)} == {sample.study for sample in samples}


def test_a_process_a_study_writes_all_objects(tmp_path):
    sample = write_hippocampus(tmp_path / "study", 7)
    call = [sys.executable, str(ONE), str(sample.folder), BUNDLE, str(tmp_path / "objects")]
    (tmp_path / "objects").mkdir()
    subprocess.run(call, check=True)
    written = sorted((tmp_path / "objects").rglob("*.dcm"))
    assert len(written) == 3
    assert {read_uids(path).study for path in written} == {read_uids(sample.files[0]).study}


def test_ways_are_no_more_than_there_are_cores_and_rivals(tmp_path):
    results = Results(tmp_path / "results")
    few, all_of_them = (
        ways(Bench(tmp_path, 8, 2, None, results)),
        ways(Bench(tmp_path, 8, 4, "python", results)),
    )
    assert {
        "medkit, 2 workers on as many cores",
        "medkit on a Dask cluster of 2 workers, on as many cores",
    } <= few.keys()
    assert not [name for name in few if "4" in name or "Deploy" in name]
    assert {
        "medkit, 4 workers on as many cores",
        "MONAI Deploy kept warm, 4 at once, 1 thread",
    } <= all_of_them.keys()
    assert next(iter(all_of_them)) == "one process a study, 4 threads"


class Using:
    """A process that has used a second more of a core whenever it is looked at; or that is gone."""

    def __init__(self, gone: bool = False) -> None:
        self.gone, self.looks = gone, 0

    def cpu_times(self):
        if self.gone:
            raise psutil.NoSuchProcess(1)
        self.looks += 1
        return (self.looks * 0.75, self.looks * 0.25, 100.0, 100.0)


def test_cores_are_those_of_the_service_its_workers_and_all_else_that_was_started(monkeypatch):
    children = [Using(), Using(), Using(), Using(gone=True)]
    monkeypatch.setattr(psutil, "Process", lambda: SimpleNamespace(children=lambda recursive: children))
    clock = count()
    monkeypatch.setattr("batch_throughput.time.monotonic", lambda: next(clock))
    used = _Used(SimpleNamespace(alive=True))
    assert all(used.look() for _ in range(9))
    assert used.cores() == 3.0


def test_a_service_that_ended_by_itself_is_no_measurement():
    with pytest.raises(RuntimeError, match="ended by itself"):
        _Used(SimpleNamespace(alive=False)).look()
