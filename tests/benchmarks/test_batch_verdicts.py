"""What is lost, doubled, changed or unexplained is found, and nothing else is."""

from __future__ import annotations

import pytest
from batch_studies import WAYS, Sample
from batch_verdicts import Held, Verdicts, judge_destination, judge_ends, judge_files

from medkit.batch.audit import AuditLog
from medkit.batch.folder import JobFolder
from medkit.batch.ledger import Ledger, State
from medkit.batch.spool import Spool, SpoolLimits

WAY = "a slice is missing"
ATTEMPTS = 5


@pytest.fixture
def samples(tmp_path):
    return [Sample(1, tmp_path), Sample(2, tmp_path), Sample(3, tmp_path, WAY)]


@pytest.fixture
def expected(samples):
    return {sample.study: {f"{sample.number}.1": "a", f"{sample.number}.2": "b"} for sample in samples[:2]}


@pytest.fixture
def held(expected):
    return [
        Held(study, uid, content) for study, objects in expected.items() for uid, content in objects.items()
    ]


def judged(samples, expected, held):
    found = Verdicts()
    judge_destination("archive", samples, expected, held, found)
    return found


def kinds(found):
    return {kind: len(faults) for kind, faults in found.faults.items() if faults}


def test_what_is_there_once_is_good(samples, expected, held):
    found = judged(samples, expected, held)
    assert found.good
    assert found.withdrawn == 0


def test_each_fault_is_found(samples, expected, held):
    first, *others = held
    study, third = first.study, samples[2].study
    assert kinds(judged(samples, expected, others)) == {"lost": 1}
    assert kinds(judged(samples, expected, [*held, first])) == {"doubled": 1}, "the same object twice"
    assert kinds(judged(samples, expected, [*held, Held(study, "1.3", "a")])) == {"doubled": 1}, "another"
    assert kinds(judged(samples, expected, [*others, Held(study, first.uid, "c")])) == {"changed": 1}
    assert kinds(judged(samples, expected, [*held, Held(third, "3.1", "a")])) == {"doubled": 1}, (
        "of a broken study"
    )
    assert kinds(judged(samples, expected, [*held, Held("0" * 64, "4.1", "a")])) == {"doubled": 1}, "of none"
    assert kinds(judged(samples, expected, [])) == {"lost": 4}


def test_what_was_taken_back_by_a_note_does_not_count(samples, expected, held):
    study = held[0].study
    earlier, note = Held(study, "1.3", "x"), Held(study, "1.4", "n", frozenset(["1.3"]))
    found = judged(samples, expected, [*held, earlier, note])
    assert found.good
    assert found.withdrawn == 1
    wrong = Held(study, "1.4", "n", frozenset(["1.1"]))
    assert kinds(judged(samples, expected, [*held, wrong])) == {"lost": 1}, "what counts was taken back"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({1: (State.QUARANTINED, "worker-died")}, "lost"),
        ({2: None}, "lost"),
        ({2: (State.MADE, None)}, "lost"),
        ({3: (State.DELIVERED, None)}, "unexplained"),
        ({3: (State.REFUSED, "truncated")}, "unexplained"),
        ({3: (State.QUARANTINED, WAYS[WAY].code)}, "unexplained"),
        ({3: None}, "unexplained"),
    ],
)
def test_ends_that_are_not_as_they_should_be(samples, change, kind):
    ends = {1: (State.DELIVERED, None), 2: (State.DELIVERED, None), 3: (WAYS[WAY].state, WAYS[WAY].code)}
    for wrong, expected in ((change, {kind: 1}), ({}, {})):
        found = Verdicts()
        told = {
            sample.study: (ends | wrong)[sample.number] for sample in samples if (ends | wrong)[sample.number]
        }
        judge_ends(samples, told, {}, ATTEMPTS, found)
        assert kinds(found) == expected
        assert found.good == (not expected)
        assert found.excused == 0


@pytest.mark.parametrize(
    ("number", "explained", "expected", "excused"),
    [(3, ATTEMPTS, {}, 1), (3, ATTEMPTS - 1, {"unexplained": 1}, 0), (2, ATTEMPTS, {"lost": 1}, 0)],
)
def test_a_broken_study_whose_every_attempt_is_explained_may_have_died_and_a_good_one_is_lost(
    samples, number, explained, expected, excused
):
    told = {sample.study: (State.DELIVERED, None) for sample in samples[:2]}
    told[samples[2].study] = (WAYS[WAY].state, WAYS[WAY].code)
    told[samples[number - 1].study] = (State.QUARANTINED, "worker-died")
    found = Verdicts()
    judge_ends(samples, told, {samples[number - 1].study: explained}, ATTEMPTS, found)
    assert kinds(found) == expected
    assert found.excused == excused


def test_a_study_that_kills_its_workers_needs_no_excuse(tmp_path):
    sample, found = Sample(1, tmp_path, "its worker dies of it"), Verdicts()
    judge_ends(
        [sample],
        {sample.study: (State.QUARANTINED, "worker-died")},
        {sample.study: ATTEMPTS},
        ATTEMPTS,
        found,
    )
    assert found.good
    assert found.excused == 0


@pytest.fixture
def job(tmp_path):
    """A batch to which nothing came yet, and a folder of results."""
    job = JobFolder(tmp_path / "batch")
    Spool(job.spool, SpoolLimits(free_bytes=0))
    AuditLog(job.audit, "test").append("started")
    (job.work / "workers").mkdir(parents=True)
    Ledger(job.ledger, "test").close()
    job.results.mkdir()
    (tmp_path / "copies").mkdir()
    return job


def test_a_folder_without_remains_is_good(job, tmp_path):
    found = Verdicts()
    judge_files(job, tmp_path / "copies", found)
    assert found.good


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("batch/spool/incoming/.part-1-x", "is unfinished"),
        ("batch/spool/incoming/x", "is left"),
        ("batch/work/workers/worker-1.json", "is left"),
        (f"batch/results/{'0' * 64}/1/2/bundle/x.dcm", "of no attempt that counts"),
        ("copies/study/.part-7-x.dcm", "is unfinished"),
    ],
)
def test_what_is_half_written_or_left_is_found(job, tmp_path, place, said):
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).touch()
    found = Verdicts()
    judge_files(job, tmp_path / "copies", found)
    assert any(said in fault for fault in found.faults["half-written"])
    assert not found.good
