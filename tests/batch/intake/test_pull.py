from __future__ import annotations

import logging
import os
import tempfile
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medkit.batch.hours import parse_hours
from medkit.batch.identity import hash_uid
from medkit.batch.intake.pull import Step
from medkit.batch.intake.quiet import settle
from medkit.batch.intake.requests import Request, filter_request
from medkit.batch.ledger import Policy, Result, Stage, State
from medkit.batch.marks import UNFINISHED_PULL
from medkit.batch.spool import SpoolLimits
from medkit.dicom import read
from medkit.dicom.network.archive import ArchiveDown, ArchiveRefused, StudyMatch
from tests.batch.intake.door import body, events, put_back, write_study
from tests.batch.intake.pulling import FAULTS, FakeArchive, Pull, by_uid, growing
from tests.batch.ledger.killing import Killed, killed_before
from tests.batch.ledger.stories import Clock
from tests.dicom_series.stacks import save


@pytest.fixture
def studies(tmp_path):
    return [write_study(tmp_path / "pacs" / str(seed), seed, 2) for seed in (1, 2)]


def test_studies_of_a_list_are_pulled_once_whole_and_can_be_read(tmp_path, clock, caplog):
    caplog.set_level(logging.INFO, "medkit.batch")
    study = write_study(tmp_path / "pacs", 1, 9)
    pull = Pull(tmp_path, clock, FakeArchive(study), by_uid([study]))
    assert pull.steps() == [Step.PULLED, Step.IDLE]
    assert [one.getMessage() for one in caplog.records] == ["study complete"]
    pull.check_whole(study)
    expected = pull.intake.spool.expected(study.hash)
    assert expected == {study.series: 9}
    paths = [one.path for one in pull.intake.spool.instances(study.hash)]
    assert [volume.array.shape[2] for volume in read(paths, expected=expected).volumes] == [9]
    assert read(paths[1:], expected=expected).refused[0].code == "count-mismatch"
    calls = len(pull.archive.calls)
    pull.stop()
    pull.start()
    clock.pass_by(1000)
    assert pull.steps() == [Step.IDLE]
    assert len(pull.archive.calls) == calls, "what was pulled is not even asked for"


def test_accession_numbers_and_filters_find_studies(tmp_path, clock, studies):
    request = Request(filters={"AccessionNumber": studies[1].uid[-6:]})
    pull = Pull(tmp_path, clock, FakeArchive(*studies), [request])
    assert pull.steps() == [Step.PULLED, Step.IDLE]
    pull.check_whole(studies[1])
    assert pull.intake.ledger.counts()[State.READY] == 1
    pull.stop()
    pull.requests = [filter_request({"Modality": "CT"})]
    pull.start()
    assert pull.steps() == [Step.PULLED, Step.UNCHANGED, Step.IDLE]
    pull.check_whole(*studies)


def test_a_filter_finds_what_comes_later_and_late_slices(tmp_path, clock, studies):
    archive = FakeArchive(studies[0])
    late = archive.studies[studies[0].uid].popitem()
    pull = Pull(tmp_path, clock, archive, [filter_request({"Modality": "CT"})])
    assert pull.steps() == [Step.PULLED, Step.IDLE]
    clock.pass_by(59)
    assert pull.steps() == [Step.IDLE]
    clock.pass_by(1)
    archive.studies[studies[0].uid][late[0]] = late[1]
    archive.studies[studies[1].uid] = archive.held(studies[1])
    assert pull.steps() == [Step.PULLED, Step.PULLED, Step.IDLE]
    pull.check_whole(*studies)
    assert pull.record(studies[0]).revision == 2
    clock.pass_by(60)
    assert pull.steps() == [Step.UNCHANGED, Step.UNCHANGED, Step.IDLE]


def test_own_results_in_the_archive_are_neither_taken_nor_expected(tmp_path, clock, studies):
    study = studies[0]
    pull = Pull(tmp_path, clock, FakeArchive(study), [filter_request({"Modality": "CT"})])
    pull.steps()
    claim = pull.intake.ledger.claim(Stage.MAKE)
    pull.intake.ledger.made(claim, [Result("2.25.77", "pacs", hash_uid("content"), "x.dcm")], "recipe")
    series, result = study.series, study.datasets[0]
    result.SOPInstanceUID, result.SeriesInstanceUID = "2.25.77", "2.25.771"
    save(tmp_path / "result.dcm", result)
    content = (tmp_path / "result.dcm").read_bytes()
    pull.archive.studies[study.uid]["2.25.77"] = ("2.25.771", content)
    clock.pass_by(60)
    assert pull.steps() == [Step.PULLED, Step.IDLE]
    assert pull.record(study).state is State.MADE, "nothing new came"
    assert pull.record(study).revision == 1
    assert pull.intake.spool.expected(study.hash) == {series: 2}
    assert not list((pull.intake.spool.folder / "incoming").iterdir())
    clock.pass_by(60)
    assert pull.steps() == [Step.UNCHANGED, Step.IDLE]


def test_outside_of_its_windows_the_archive_is_left_alone(tmp_path, studies):
    noon = datetime(2026, 1, 5, 12).timestamp()
    clock = Clock(noon)
    pull = Pull(tmp_path, clock, FakeArchive(*studies), by_uid(studies), windows=[parse_hours("20:00-06:00")])
    assert pull.steps() == [Step.CLOSED]
    assert pull.archive.calls == []
    clock.pass_by(8 * 3600)
    assert pull.puller.step() is Step.PULLED
    clock.pass_by(10 * 3600)
    assert pull.steps() == [Step.CLOSED]
    clock.pass_by(14 * 3600)
    assert pull.steps() == [Step.PULLED, Step.IDLE]
    pull.check_whole(*studies)


def test_an_archive_that_does_not_answer_is_asked_ever_later_and_costs_no_attempt(tmp_path, clock, studies):
    pull = Pull(tmp_path, clock, FakeArchive(*studies), by_uid(studies), policy=Policy(2, 9, 5, 15))
    pull.archive.faults = ["down"] * 4
    waits = []
    for _ in range(4):
        assert pull.steps() == [Step.DOWN]
        waits.append(0)
        while pull.steps() == [Step.DOWN] and len(pull.archive.calls) == len(waits):
            clock.pass_by(1)
            waits[-1] += 1
        if len(waits) == 3:
            break
    assert waits == [5, 10, 15]
    clock.pass_by(15)
    pull.steps()
    pull.check_whole(*studies)
    assert pull.puller.failures() == {}


def test_a_study_that_the_archive_refuses_is_given_up_and_the_others_go_on(tmp_path, clock, studies):
    pull = Pull(tmp_path, clock, FakeArchive(*studies), by_uid(studies), policy=Policy(2, 9, 5))
    pull.archive.faults = ["", "incomplete"]
    assert pull.steps() == [Step.FAILED, Step.PULLED, Step.IDLE]
    assert pull.puller.failures() == {}
    settle(pull.intake, 0)
    assert list(pull.intake.spool.missing(studies[0].hash).values()) == [UNFINISHED_PULL], "made nothing of"
    pull.check_whole(studies[1])
    clock.pass_by(60)
    pull.archive.faults = ["", "short"]
    assert pull.steps() == [Step.FAILED, Step.IDLE]
    assert pull.puller.failures() == {studies[0].hash: "retrieve-incomplete"}
    assert ("pull-given-up", "retrieve-incomplete") in events(pull.intake)
    clock.pass_by(60)
    assert pull.steps() == [Step.IDLE]
    pull.puller.retry()
    clock.pass_by(60)
    assert pull.steps() == [Step.PULLED, Step.IDLE]
    pull.check_whole(*studies)


def test_a_study_or_number_that_is_not_there_is_told(tmp_path, clock, studies):
    requests = [Request("1.9.9"), Request(filters={"AccessionNumber": "nowhere"})]
    pull = Pull(tmp_path, clock, FakeArchive(*studies), requests, policy=Policy(1, 9, 5))
    assert pull.steps() == [Step.FAILED, Step.FAILED, Step.IDLE]
    assert set(pull.puller.failures().values()) == {"not-found"}
    assert hash_uid("1.9.9") in pull.puller.failures()
    assert pull.intake.ledger.studies() == []


def test_a_full_disk_ends_the_transfer_and_it_goes_on_when_there_is_room(tmp_path, clock, studies):
    free = [1000]
    pull = Pull(
        tmp_path,
        clock,
        FakeArchive(*studies),
        by_uid(studies),
        limits=SpoolLimits(free_bytes=500),
        usage=lambda _: SimpleNamespace(free=free[0]),
    )
    real = pull.intake.take

    def fills(*given):
        taken = real(*given)
        free[0] = 0
        return taken

    pull.intake.take = fills
    assert pull.steps() == [Step.NO_ROOM]
    assert len(pull.intake.spool.instances(studies[0].hash)) == 1
    settle(pull.intake, 0)
    assert UNFINISHED_PULL in pull.intake.spool.missing(studies[0].hash).values()
    pull.intake.take = real
    assert pull.steps() == [Step.NO_ROOM]
    free[0] = 1000
    assert pull.steps() == [Step.PULLED, Step.PULLED, Step.IDLE]
    pull.check_whole(*studies)


def test_a_study_beyond_a_limit_is_given_up_with_its_mark(tmp_path, clock, studies):
    pull = Pull(
        tmp_path,
        clock,
        FakeArchive(studies[0]),
        by_uid(studies[:1]),
        limits=SpoolLimits(free_bytes=0, study_instances=1),
        policy=Policy(1, 9, 5),
    )
    assert pull.steps() == [Step.FAILED, Step.IDLE]
    assert pull.puller.failures() == {studies[0].hash: "too-many"}
    assert set(pull.intake.spool.missing(studies[0].hash).values()) == {"too-many", UNFINISHED_PULL}


def test_instances_come_no_faster_than_asked_for(tmp_path, clock):
    study = write_study(tmp_path / "pacs", 1, 5)
    begun, slept = clock.now, []

    def sleep(seconds):
        slept.append(seconds)
        clock.pass_by(seconds)

    pull = Pull(tmp_path, clock, FakeArchive(study), by_uid([study]), instances_per_second=2.0, sleep=sleep)
    pull.steps()
    assert clock.now - begun == pytest.approx(2.5)
    assert slept == pytest.approx([0.5] * 5)


def test_an_archive_that_goes_down_amid_known_instances_does_not_call_the_study_into_question(
    tmp_path, clock, studies
):
    pull = Pull(tmp_path, clock, FakeArchive(studies[0]), [filter_request({"Modality": "CT"})])
    pull.steps()
    pull.archive.studies[studies[0].uid]["1.2.9"] = (studies[0].series, body().read())
    pull.archive.faults = ["", "", "half"]
    clock.pass_by(60)
    assert pull.steps() == [Step.FAILED, Step.IDLE], "the archive answers, and breaks off at this study"
    settle(pull.intake, 0)
    assert pull.record(studies[0]).revision == 1, "the new one has not come"
    assert pull.intake.spool.missing(studies[0].hash) == {}
    clock.pass_by(60)
    pull.steps()
    pull.check_whole(studies[0])
    assert pull.record(studies[0]).revision == 2


def test_a_study_that_the_archive_is_still_receiving_waits_until_two_looks_find_the_same(tmp_path, clock):
    study = write_study(tmp_path / "pacs", 1, 6)
    archive = FakeArchive(study)
    whole = growing(study, archive, 3)
    pull = Pull(tmp_path, clock, archive, by_uid([study]), quiet_seconds=60)
    assert pull.steps() == [Step.SEEN, Step.IDLE]
    clock.pass_by(59)
    assert pull.steps() == [Step.IDLE]
    archive.studies[study.uid] = whole
    clock.pass_by(1)
    assert pull.steps() == [Step.SEEN, Step.IDLE]
    assert "retrieve" not in archive.calls
    clock.pass_by(60)
    assert pull.steps() == [Step.PULLED, Step.IDLE]
    pull.check_whole(study)


def test_a_study_that_grows_while_it_is_pulled_is_pulled_again(tmp_path, clock):
    study = write_study(tmp_path / "pacs", 1, 6)
    archive = FakeArchive(study)
    whole, real = growing(study, archive, 3), archive.retrieve

    def retrieve(uid, take):
        number = real(uid, take)
        archive.studies[study.uid] = whole
        return number

    archive.retrieve = retrieve
    pull = Pull(tmp_path, clock, archive, by_uid([study]), quiet_seconds=60)
    pull.steps()
    clock.pass_by(60)
    assert pull.steps() == [Step.SEEN, Step.IDLE]
    settle(pull.intake, 0)
    assert UNFINISHED_PULL in pull.intake.spool.missing(study.hash).values()
    for _ in range(2):
        clock.pass_by(60)
        pull.steps()
    pull.check_whole(study)
    assert pull.intake.spool.expected(study.hash) == {study.series: 6}


def test_what_comes_by_another_way_ends_what_the_archive_said(tmp_path, clock):
    study = write_study(tmp_path / "pacs", 1, 9)
    archive = FakeArchive(study)
    growing(study, archive, 8)
    pull = Pull(tmp_path, clock, archive, by_uid([study]))
    pull.steps()
    with study.paths[8].open("rb") as file:
        pull.intake.take(study.uid, study.datasets[8].SOPInstanceUID, file)
    settle(pull.intake, 0)
    spool = pull.intake.spool
    reading = read([one.path for one in spool.instances(study.hash)], expected=spool.expected(study.hash))
    assert [volume.array.shape[2] for volume in reading.volumes] == [9]


def test_a_study_at_which_the_archive_breaks_off_does_not_keep_it_from_the_others(tmp_path, clock, studies):
    archive = FakeArchive(*studies)
    real = archive.retrieve

    def retrieve(uid, take):
        if uid == studies[0].uid:
            raise ArchiveDown("got status 500")
        return real(uid, take)

    archive.retrieve = retrieve
    pull = Pull(tmp_path, clock, archive, by_uid(studies), policy=Policy(2, 9, 5))
    assert pull.steps() == [Step.FAILED, Step.PULLED, Step.IDLE]
    clock.pass_by(60)
    pull.steps()
    assert pull.puller.failures() == {studies[0].hash: "archive-breaks-off"}
    pull.check_whole(studies[1])


def test_an_archive_that_lets_us_in_nowhere_costs_no_study_an_attempt(tmp_path, clock, studies):
    archive = FakeArchive(*studies)
    pull = Pull(tmp_path, clock, archive, by_uid(studies), policy=Policy(1, 9, 5))

    def rejected():
        raise ArchiveRefused("association-rejected", "calling AE title not recognised")

    archive.echo = rejected
    archive.faults = ["refuse"] * 3
    for _ in range(3):
        assert pull.steps() == [Step.DOWN]
        clock.pass_by(60)
    assert pull.steps() == [Step.PULLED, Step.PULLED, Step.IDLE]


@pytest.mark.parametrize("code", ["not-offered", "redirected"])
def test_nor_does_one_that_answers_and_offers_nobody_what_is_asked_for(tmp_path, clock, studies, code):
    archive = FakeArchive(*studies)
    real = archive.counts
    pull = Pull(tmp_path, clock, archive, by_uid(studies), policy=Policy(1, 9, 5))

    def counts(uid):
        raise ArchiveRefused(code, "have it switched on")

    archive.counts = counts
    for _ in range(3):
        assert pull.steps() == [Step.DOWN]
        assert pull.puller.down.code == code
        clock.pass_by(60)
    archive.counts = real
    assert pull.steps() == [Step.PULLED, Step.PULLED, Step.IDLE]


def test_one_study_that_is_not_for_us_does_not_keep_us_from_the_others(tmp_path, clock, studies):
    archive = FakeArchive(*studies)
    real = archive.counts

    def counts(uid):
        if uid == studies[0].uid:
            raise ArchiveRefused("not-allowed", "got status 403")
        return real(uid)

    archive.counts = counts
    pull = Pull(tmp_path, clock, archive, by_uid(studies), policy=Policy(1, 9, 5))
    assert pull.steps() == [Step.FAILED, Step.PULLED, Step.IDLE]


def test_a_lasting_search_is_never_given_up_and_told(tmp_path, clock, studies):
    archive = FakeArchive(studies[0])
    archive.faults = ["refuse"] * 4
    pull = Pull(tmp_path, clock, archive, [filter_request({"Modality": "CT"})], policy=Policy(3, 9, 5, 50))
    for _ in range(4):
        assert pull.steps() == [Step.FAILED, Step.IDLE]
        clock.pass_by(60)
    assert list(pull.puller.failures().values()) == ["not-for-you"]
    assert events(pull.intake) == [("search-fails", "not-for-you")]
    assert pull.steps() == [Step.PULLED, Step.IDLE]
    assert pull.puller.failures() == {}


def test_a_number_whose_study_was_taken_is_not_searched_again(tmp_path, clock, studies):
    archive = FakeArchive(*studies)
    requests = [Request(filters={"AccessionNumber": study.uid[-12:]}) for study in studies]
    pull = Pull(tmp_path, clock, archive, requests)
    archive.faults = ["", "", "incomplete"]
    assert pull.steps() == [Step.FAILED, Step.PULLED, Step.IDLE]
    for _ in range(5):
        clock.pass_by(60)
        pull.steps()
    pull.check_whole(*studies)
    assert archive.calls.count("find") == 2
    pull.stop()
    pull.start()
    assert pull.steps() == [Step.IDLE]
    assert archive.calls.count("find") == 2


def test_each_search_is_a_step_so_that_a_window_can_end(tmp_path, clock):
    pull = Pull(tmp_path, clock, FakeArchive(), [filter_request({"Modality": "CT"})] * 3)
    assert [pull.puller.step() for _ in range(4)] == [Step.SEARCHED] * 3 + [Step.IDLE]


def test_an_equal_number_of_instances_is_believed_for_an_hour(tmp_path, clock, studies):
    archive = FakeArchive(studies[0])
    archive.find = lambda filters: [
        StudyMatch(uid, instances=len(held)) for uid, held in archive.studies.items()
    ]
    pull = Pull(tmp_path, clock, archive, [filter_request({"Modality": "CT"})])
    pull.steps()
    asked = archive.calls.count("counts")
    for _ in range(59):
        clock.pass_by(60)
        assert pull.steps() == [Step.IDLE]
    assert archive.calls.count("counts") == asked
    clock.pass_by(60)
    assert pull.steps() == [Step.UNCHANGED, Step.IDLE]
    archive.studies[studies[0].uid]["1.2.9"] = (studies[0].series, body().read())
    clock.pass_by(60)
    assert pull.steps() == [Step.PULLED, Step.IDLE]


def test_a_match_without_a_uid_is_passed_over(tmp_path, clock, studies):
    archive = FakeArchive(studies[0])
    archive.find = lambda filters: [StudyMatch(" "), StudyMatch(studies[0].uid)]
    pull = Pull(tmp_path, clock, archive, [filter_request({"Modality": "CT"})])
    assert pull.steps() == [Step.PULLED, Step.IDLE]


@pytest.fixture(scope="module")
def kept_studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pacs")
    return [write_study(folder / str(seed), seed, 2) for seed in (1, 2)]


@settings(max_examples=15, deadline=None)
@given(faults=st.lists(st.sampled_from(FAULTS), max_size=14), restarts=st.sets(st.integers(0, 10)))
def test_whatever_an_archive_does_no_part_is_taken_for_the_whole_and_all_comes_in_the_end(
    kept_studies, faults, restarts
):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda descriptor: None)  # no power is cut here
        archive = FakeArchive(*kept_studies)
        archive.faults = list(faults)
        pull = Pull(Path(folder), Clock(), archive, [filter_request({"Modality": "CT"})])
        for turn in range(60):
            if turn in restarts:
                pull.stop()
                pull.start()
            try:
                step = pull.puller.step()
            except OSError:
                step = Step.DOWN  # whoever drives it waits, and goes on
            settle(pull.intake, 0)
            for study in kept_studies:
                ready = study.hash in {one.study for one in pull.intake.ledger.studies(State.READY)}
                if ready and not pull.intake.spool.missing(study.hash):
                    pull.check_whole(study)
            if step in (Step.IDLE, Step.DOWN, Step.FAILED):
                pull.clock.pass_by(60)
        pull.check_whole(*kept_studies)
        assert pull.puller.failures() == {}
        assert pull.intake.ledger.faults() == []
        pull.stop()


def test_killed_before_any_statement_no_part_is_taken_for_the_whole_and_it_goes_on(
    tmp_path, kept_studies, monkeypatch
):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # no power is cut here
    study = kept_studies[0]

    def run(folder, fatal):
        kept = folder / "kept"
        with killed_before(monkeypatch, None, kept) as killer:
            pull = Pull(folder, Clock(), FakeArchive(study), by_uid([study]))
            begun = killer.statements
            killer.fatal = None if fatal is None else begun + fatal
            killed = False
            try:
                pull.steps()
            except Killed:
                killed = True
            pull.stop()
        assert killed is (fatal is not None)
        if (kept / "ledger.sqlite").exists():
            put_back(kept, folder / "job")
        return killer.statements - begun

    total = run(tmp_path / "whole", None)
    assert total > 15
    for fatal in range(total):
        folder = tmp_path / f"at{fatal}"
        run(folder, fatal)
        pull = Pull(folder, Clock(), FakeArchive(study), by_uid([study]))
        settle(pull.intake, -1)
        for record in pull.intake.ledger.studies(State.READY):
            if not pull.intake.spool.missing(record.study):
                pull.check_whole(study)
        pull.steps()
        pull.check_whole(study)
        pull.stop()
