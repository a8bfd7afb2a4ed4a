"""A person may say that a study is whole; that is kept, told, and taken back by whatever says otherwise later."""

from __future__ import annotations

import pytest

from medkit.batch.intake.folder import take_folder
from medkit.batch.intake.lifting import lift_marks
from medkit.batch.intake.quiet import settle
from medkit.batch.ledger import IllegalTransition, Stage, State
from medkit.dicom.network.cut_off import CUT_OFF
from tests.batch.intake.door import body, events, settle_after, write_study
from tests.batch.ledger.stories import STUDY


@pytest.fixture
def cut(intake):
    """A study of which the second of three instances was cut off, and which was found not to be whole."""
    intake.take("1.2.3", "1.2.3.1", body())
    intake.leave("1.2.3", "1.2.3.2", CUT_OFF)
    intake.take("1.2.3", "1.2.3.3", body())
    settle(intake, 0)
    for _ in range(intake.ledger.policy.attempts):
        intake.ledger.fail(intake.ledger.claim(Stage.MAKE), "instances-missing", "1 was not taken")
        intake.ledger._clock.pass_by(10_000)
    assert intake.ledger.study(STUDY).state is State.QUARANTINED
    return intake


def test_what_is_there_is_made_and_the_trace_stays(cut):
    before = cut.spool.digest(STUDY)
    (mark,) = cut.spool.marks(STUDY)
    assert lift_marks(cut, STUDY, "the sender has no more") == 1
    assert (cut.spool.marks(STUDY), cut.spool.lifted(STUDY)) == ([], [mark])
    record = cut.ledger.study(STUDY)
    assert (record.state, record.revision, record.arriving) == (State.READY, 2, False)
    assert record.digest == cut.spool.digest(STUDY) != before
    lines = [(one.code, one.reason) for one in cut.ledger.history(STUDY)]
    assert ("marks-lifted", "the sender has no more") in lines
    assert ("study-changed", None) in lines, "no instance did, but what is said of them"
    assert events(cut)[-2:] == [("mark-lifted", CUT_OFF), ("study-complete", None)]


def test_where_marks_were_purged_with_the_instances_it_says_so(cut):
    with pytest.raises(IllegalTransition, match=r"got none$"):
        lift_marks(cut, STUDY, "why not", code="too-large")
    cut.ledger.purged(STUDY)
    cut.spool.discard(STUDY, at_rest=cut.ledger.at_end(STUDY))
    with pytest.raises(
        IllegalTransition, match="they were purged with its instances; have all of it sent again"
    ):
        lift_marks(cut, STUDY, "why not")


def test_what_comes_after_all_is_part_of_the_study(cut):
    lift_marks(cut, STUDY, "why not")
    cut.take("1.2.3", "1.2.3.2", body())
    assert cut.spool.lifted(STUDY) == []
    settle(cut, 0)
    record = cut.ledger.study(STUDY)
    assert (record.state, record.revision, record.instances) == (State.READY, 3, 3)


def test_what_is_cut_off_again_is_missed_again(cut):
    (mark,) = cut.spool.marks(STUDY)
    lift_marks(cut, STUDY, "why not")
    cut.leave("1.2.3", "1.2.3.2", CUT_OFF)
    assert (cut.spool.marks(STUDY), cut.spool.lifted(STUDY)) == ([mark], [])


def test_marks_of_one_kind_alone(cut):
    cut.leave("1.2.3", "1.2.3.4", "too-large")
    settle(cut, 0)
    assert lift_marks(cut, STUDY, "why not", CUT_OFF) == 1
    assert [mark.code for mark in cut.spool.marks(STUDY)] == ["too-large"]
    with pytest.raises(IllegalTransition, match="expected marks of what was not taken, got none"):
        lift_marks(cut, STUDY, "why not", "low-disk")


def test_a_study_that_is_being_received_is_let_come(cut):
    cut.take("1.2.3", "1.2.3.5", body())
    with pytest.raises(IllegalTransition, match="at rest, got it being received"):
        lift_marks(cut, STUDY, "why not")
    assert [mark.code for mark in cut.spool.marks(STUDY)] == [CUT_OFF]


def test_of_a_study_of_which_nothing_came_nothing_is_made(intake):
    intake.leave("1.2.3", "1.2.3.1", CUT_OFF)
    with pytest.raises(
        IllegalTransition, match=r"expected instances to make something of, got none, only marks .* dismiss"
    ):
        lift_marks(intake, STUDY, "why not")


def test_what_comes_meanwhile_is_waited_for(cut, clock, monkeypatch):
    lift = cut.spool.lift

    def late(study, mark):
        cut.take("1.2.3", "1.2.3.6", body())
        lift(study, mark)

    monkeypatch.setattr(cut.spool, "lift", late)
    lift_marks(cut, STUDY, "why not")
    assert cut.ledger.study(STUDY).arriving
    assert settle_after(cut, clock, 60).begun == {STUDY: 2}
    assert cut.ledger.study(STUDY).instances == 3


@pytest.mark.parametrize("part", ["audit", "spool"])
@pytest.mark.parametrize("lifted", [0, 1])
def test_where_it_fails_in_its_midst_the_study_is_not_left_open_and_a_second_call_goes_on(
    cut, monkeypatch, part, lifted
):
    cut.leave("1.2.3", "1.2.3.4", "too-large")
    settle(cut, 0)
    held = cut.ledger.study(STUDY)
    owner, name = (cut.audit, "append") if part == "audit" else (cut.spool, "lift")
    real, left = getattr(owner, name), [lifted]

    def fail(*given, **fields):
        if given[0] != "study-complete":
            if left[0] == 0:
                raise OSError("the disk is full")
            left[0] -= 1
        return real(*given, **fields)

    with monkeypatch.context() as broken:
        broken.setattr(owner, name, fail)
        with pytest.raises(OSError, match="the disk is full"):
            lift_marks(cut, STUDY, "why not")
    lifted = 0 if part == "audit" else lifted  # without its lines nothing is done
    assert len(cut.spool.lifted(STUDY)) == lifted
    record = cut.ledger.study(STUDY)
    assert (record.arriving, record.revision) == (False, held.revision + lifted)
    assert record.digest == cut.spool.digest(STUDY)
    assert lift_marks(cut, STUDY, "why not") == 2 - lifted
    assert (cut.spool.marks(STUDY), len(cut.spool.lifted(STUDY))) == ([], 2)
    record = cut.ledger.study(STUDY)
    assert (record.state, record.revision, record.arriving) == (
        State.READY,
        held.revision + lifted + 1,
        False,
    )


def test_a_folder_that_is_taken_again_does_not_miss_what_a_person_does_without(intake, tmp_path):
    study = write_study(tmp_path / "in")
    content = study.paths[2].read_bytes()
    study.paths[2].write_bytes(content[:200])
    assert take_folder(tmp_path / "in", intake).left == {study.hash: "broken-file"}
    lift_marks(intake, study.hash, "the disk is lost")
    again = take_folder(tmp_path / "in", intake)
    assert (again.left, again.unchanged, intake.spool.marks(study.hash)) == ({}, [study.hash], [])
    assert intake.ledger.study(study.hash).revision == 2
    study.paths[2].write_bytes(content)
    assert take_folder(tmp_path / "in", intake).begun == {study.hash: 3}
    assert intake.spool.lifted(study.hash) == []
