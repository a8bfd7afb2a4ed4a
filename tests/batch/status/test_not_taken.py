from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from medkit.batch.identity import hash_uid
from medkit.batch.intake.take import Intake
from medkit.batch.ledger import Stage, State
from medkit.batch.marks import Mark, StudyMarks
from medkit.batch.spool import NotTaken, Spool, SpoolLimits
from medkit.batch.status.not_taken import with_what_was_not_taken
from tests.batch.status.live import study, uid
from tests.batch.status.test_summary import look


def reason(batch, name="a"):
    (one,) = with_what_was_not_taken(batch.job, [batch.ledger.study(study(name))])
    return one.code, one.reason


def refuse(batch, number):
    """Let so many instances come to a disk that is too full."""
    spool = Spool(batch.job.spool, SpoolLimits(free_bytes=10), usage=lambda _: SimpleNamespace(free=9))
    intake = Intake(batch.ledger, spool, batch.audit)
    for one in range(number):
        with pytest.raises(NotTaken):
            intake.take(uid("a"), f"{uid('a')}.{one}", io.BytesIO(b"x"))


def test_a_study_of_which_nothing_fitted_on_the_disk_says_so_until_it_came(batch):
    refuse(batch, 2)
    expected = "2 instances were not taken: the disk was too full; make room, and send the study again"
    assert reason(batch) == ("low-disk", expected)
    (latest,) = look(batch).latest
    assert (latest.code, latest.reason) == ("low-disk", expected)
    for one in range(2):
        batch.spool.store(uid("a"), f"{uid('a')}.{one}", io.BytesIO(b"x"))
    assert reason(batch) == (None, None)


def test_a_study_whose_instances_were_purged_is_to_be_sent_again_where_more_than_delivery_is_left(batch):
    again = "its instances were purged; send all of it again, and then retry it if it still stands here"
    batch.bring(State.QUARANTINED)
    batch.bring(State.REFUSED)
    batch.make("a")
    batch.ledger._clock.pass_by(1)
    for _ in range(batch.ledger.policy.attempts):
        batch.ledger.fail(batch.ledger.claim(Stage.DELIVER), "object-refused", "it is refused")
        batch.ledger._clock.pass_by(10_000)
    died = reason(batch, State.QUARANTINED)
    assert died[0] == "worker-died"
    for name in (State.QUARANTINED, State.REFUSED, "a"):
        batch.ledger.purged(study(name))
    assert reason(batch, State.QUARANTINED) == ("worker-died", again)
    assert reason(batch, State.REFUSED)[0] == "tilt", "a verdict stays one"
    assert reason(batch) == ("object-refused", "it is refused")
    batch.ledger.results_purged(study("a"))
    assert reason(batch)[1] == again
    batch.receive(State.QUARANTINED)
    assert reason(batch, State.QUARANTINED) == died, "it comes again"
    batch.ledger.quarantine(study("a"), "nobody wants it")
    assert reason(batch) == ("set-aside", "nobody wants it")


@pytest.mark.parametrize("code", ["low-disk", "too-large", "too-many", "cut-off"])
def test_each_mark_that_a_sender_can_mend_says_what_to_do(batch, code):
    batch.receive("a")
    batch.spool.miss(study("a"), Mark(hash_uid("1.2"), code, "store"))
    found, text = reason(batch)
    assert found == code
    assert text.startswith("1 instance was not taken: ")
    assert text.endswith("send the study again")


def test_a_broken_file_says_how_to_find_it(batch):
    batch.receive("a")
    batch.spool.miss(study("a"), Mark(hash_uid("a path"), "broken-file", "watch"))
    found, text = reason(batch)
    assert found == "broken-file"
    assert "'medkit dicom inspect' on the folder that it came from names the file" in text


def test_what_is_on_its_way_is_no_reason(batch):
    batch.receive("a")
    batch.spool.miss(study("a"), Mark(study("a"), "pull-unfinished", "pull"))
    assert reason(batch) == (None, None)


@pytest.mark.parametrize(
    ("mark", "said", "before_it"),
    [
        (
            Mark("ab" * 32, "not-counted", "count"),
            "waits to be counted: its archive is still to be asked, or has another number",
            Mark(hash_uid("1.2"), "cut-off", "door"),
        ),
        (
            Mark.not_released("CT1"),
            "CT1: its sender has not said yet that this is all",
            Mark("cd" * 32, "not-counted", "count"),
        ),
    ],
    ids=["not-counted", "not-released"],
)
def test_what_a_study_waits_for_is_told_where_there_is_no_other_reason(batch, mark, said, before_it):
    batch.receive("a")
    batch.spool.miss(study("a"), mark)
    code, text = reason(batch)
    assert code == mark.code
    assert text.startswith(said)
    batch.spool.miss(study("a"), before_it)
    assert reason(batch)[0] == before_it.code


def test_the_reason_of_the_ledger_stands(batch):
    batch.arrive("a")
    batch.ledger.refuse(batch.ledger.claim(Stage.MAKE), "tilt", "expected none")
    refuse(batch, 3)
    assert reason(batch) == ("tilt", "expected none")


def test_a_batch_without_a_store_has_no_marks(tmp_path, batch):
    batch.receive("a")
    elsewhere = type(batch.job)(tmp_path / "elsewhere")
    records = batch.ledger.studies()
    assert with_what_was_not_taken(elsewhere, records) == records
    assert not elsewhere.root.exists()


def test_a_store_that_is_closed_to_who_looks_keeps_nobody_from_the_rest(batch, monkeypatch):
    refuse(batch, 1)

    def closed(self, study):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(StudyMarks, "marks", closed)
    assert reason(batch) == (None, None)
    assert len(look(batch).latest) == 1
