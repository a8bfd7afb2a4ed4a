"""What is not all in the store, or not as it came, is not made."""

from __future__ import annotations

import io

import pytest
from pydicom import dcmread

from medkit.batch.identity import hash_uid
from medkit.batch.ledger import State
from medkit.batch.making import make_study, read_study
from medkit.batch.marks import Mark
from medkit.batch.spool import NotTaken, Spool, SpoolLimits
from medkit.batch.status.alerts import Thresholds, alerts
from medkit.batch.status.summary import summarise
from tests.batch.making.studies import POLICY, check_ends, claimed, deliver, spoil, store
from tests.dicom.writing.sources import ROOT

UNCOUNTED = "the number of images was not checked with an archive"


def test_an_instance_that_was_not_taken(desk, files):
    claim = claimed(desk, files)
    narrow = Spool(desk.spool.folder, SpoolLimits(free_bytes=0, instance_bytes=100))
    with pytest.raises(NotTaken):
        narrow.store(f"{ROOT}.1", f"{ROOT}.3.99", io.BytesIO(bytes(200)))
    check_ends(desk, claim, State.FAILED, "instances-missing", r"1 was not taken \(too-large\); send")


def test_where_a_file_is_broken_it_is_said_how_to_find_it(desk, files):
    hash_of = store(desk, files)
    desk.spool.miss(hash_of, Mark(hash_uid("a path"), "broken-file", "watch"))
    reason = r"\(broken-file\); 'medkit dicom inspect' on the folder that it came from names the file; send"
    check_ends(desk, claimed(desk), State.FAILED, "instances-missing", reason)


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        (
            [Mark.not_released("CT/1 [b]")],
            r"but its sender CT/1 \[b\] did not say that this is all \(not-released: broken off, or this service was "
            r"stopped\); have the same sender send the study again, whole",
        ),
        (
            [
                Mark(hash_uid("1.2"), "cut-off", "door"),
                Mark(hash_uid("1.2"), "cut-off", "pull"),
                Mark.not_released("MR1"),
                Mark.not_released("CT1"),
            ],
            r"but 1 was not taken \(cut-off\) and its senders CT1 and MR1 did not say that this is all \(not-rel",
        ),
    ],
)
def test_a_sender_that_broke_off(desk, files, marks, said):
    claim = claimed(desk, files)
    for mark in marks:
        desk.spool.miss(claim.study, mark)
    check_ends(desk, claim, State.FAILED, "instances-missing", said)


def test_what_a_person_does_without_is_told_in_the_reports(desk, files):
    hash_of = store(desk, files)
    mark = Mark(hash_uid(f"{ROOT}.3.99"), "cut-off", "door")
    desk.spool.miss(hash_of, mark)
    desk.spool.lift(hash_of, mark)
    read = read_study(claimed(desk), desk.context)
    said = (
        "1 instance or file was not taken (cut-off), and a person said that the study is whole all the same"
    )
    assert read.notes == (UNCOUNTED, said)


def test_that_a_person_takes_what_came_after_a_purge_for_the_whole_is_told_in_the_reports(desk, files):
    first = make_study(claimed(desk, files), desk.context)
    deliver(desk, first)
    study = first.claim.study
    desk.ledger.purged(study)
    desk.spool.discard(study, at_rest=desk.ledger.at_end(study))
    *late, last = sorted(files.iterdir(), key=lambda path: dcmread(path).ImagePositionPatient[2])
    last.unlink()  # which leaves no gap
    store(desk, files)
    (arrival,) = desk.ledger.arrivals()
    desk.ledger.complete(arrival, desk.spool.digest(study), len(late))
    desk.ledger.retry(study, "asked for")
    read = read_study(claimed(desk), desk.context)
    said = (
        f"{len(late)} instances came after the earlier ones ({len(late) + 1}) had been removed, and a person said that "
        "this is the whole study"
    )
    assert read.notes == (UNCOUNTED, said)


def test_an_instance_that_came_with_two_contents(desk, files):
    store(desk, files)
    spoil(next(files.iterdir()), lambda image: image.update({"SeriesDescription": "another"}))
    check_ends(
        desk,
        claimed(desk, files),
        State.FAILED,
        "instances-conflict",
        r"got 1 that .* \([0-9a-f]{12}\); remove them by medkit batch purge FOLDER STUDY, and then send",
    )


def test_two_contents_are_told_with_what_is_missed(desk, files):
    study = store(desk, files)
    spoil(next(files.iterdir()), lambda image: image.update({"SeriesDescription": "another"}))
    desk.spool.miss(study, Mark.not_released("CT1"))
    claim = claimed(desk, files)
    said = r"got 1 that came .*, and all that was sent, but its sender CT1 .*\(not-released.*; remove them by"
    check_ends(desk, claim, State.FAILED, "instances-conflict", said)


def test_another_content_of_what_was_delivered_calls_a_person_and_has_nothing_withdrawn(desk, files):
    first = make_study(claimed(desk, files), desk.context)
    assert first.state is State.MADE
    deliver(desk, first)
    spoil(next(files.iterdir()), lambda image: image.update({"SeriesDescription": "another"}))
    store(desk, files)
    for _ in range(POLICY.attempts):
        ended = make_study(claimed(desk), desk.context)
        desk.clock.pass_by(4000)
    assert (ended.state, ended.code) == (State.QUARANTINED, "instances-conflict")
    assert ended.reason.endswith("; what was delivered of it before stays until then")
    summary = summarise(desk.ledger, desk.clock())
    told = alerts(summary, Thresholds(), kept_free_bytes=0)
    assert [alert.code for alert in told] == ["quarantine"]
    assert [(one.state, one.code) for one in summary.reasons] == [("quarantined", "instances-conflict")]
    assert desk.ledger.withdrawals() == []


def test_a_file_that_is_damaged_on_the_disk(desk, files):
    claim = claimed(desk, files)
    path = desk.spool.instances(claim.study)[3].path
    content = bytearray(path.read_bytes())
    content[-20] ^= 1  # a voxel, which nothing else would tell
    path.write_bytes(content)
    check_ends(desk, claim, State.FAILED, "instances-damaged", r"got 1 changed .* \([0-9a-f]{12}\); send")


def test_a_study_whose_damaged_file_is_sent_again_is_made(desk, files):
    claim = claimed(desk, files)
    path = desk.spool.instances(claim.study)[3].path
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert make_study(claim, desk.context).code == "instances-damaged"
    store(desk, files)
    desk.clock.pass_by(4000)
    assert make_study(claimed(desk), desk.context).state is State.MADE
