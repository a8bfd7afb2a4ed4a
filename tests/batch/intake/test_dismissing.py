"""A study of which nothing could be taken is awaited until a person says that it will not come."""

from __future__ import annotations

import errno
import os

import pytest

from medkit.batch.intake.dismissing import dismiss
from medkit.batch.intake.quiet import settle
from medkit.batch.ledger import IllegalTransition, LedgerError, Stage, State
from medkit.batch.marks import NOT_COUNTED, Mark
from medkit.dicom.network.cut_off import CUT_OFF
from tests.batch.intake.door import body, events, purge
from tests.batch.ledger.stories import STUDY

HOUR = 3600.0


@pytest.fixture
def broken_off(intake, clock):
    """A study of which the first instance was cut off, and no other came."""
    intake.leave("1.2.3", "1.2.3.1", CUT_OFF)
    assert settle(intake, 0).empty == (STUDY,)
    clock.pass_by(HOUR)
    return intake


def test_it_is_gone_and_the_trace_stays(broken_off, clock):
    assert dismiss(broken_off, STUDY, "cancelled", clock) == 1
    assert broken_off.ledger.arrivals() == broken_off.spool.studies() == broken_off.ledger.studies() == []
    with pytest.raises(LedgerError, match="expected the hash of a study in this ledger"):
        broken_off.ledger.study(STUDY)
    last = broken_off.ledger.history(STUDY)[-1]
    assert (last.before, last.after, last.code, last.reason) == (
        State.RECEIVING,
        State.RECEIVING,
        "dismissed",
        "cancelled",
    )
    assert broken_off.ledger.faults() == []
    assert events(broken_off)[-1] == ("mark-dismissed", CUT_OFF)


def test_it_may_come_after_all(broken_off, clock):
    dismiss(broken_off, STUDY, "cancelled", clock)
    broken_off.take("1.2.3", "1.2.3.1", body())
    assert settle(broken_off, 0).begun == {STUDY: 1}
    assert broken_off.ledger.study(STUDY).state is State.READY


def test_one_that_may_still_come_is_awaited(broken_off, clock):
    broken_off.leave("1.2.3", "1.2.3.2", CUT_OFF)
    for passed, said in (
        (0, "got 0 minutes; call again in 60 minutes$"),
        (HOUR - 61, "got 58 minutes; .* in 2 minutes$"),
    ):
        clock.pass_by(passed)
        with pytest.raises(IllegalTransition, match=f"nothing was heard of it for an hour, .*{said}"):
            dismiss(broken_off, STUDY, "cancelled", clock)
    clock.pass_by(60)
    with pytest.raises(IllegalTransition, match="got 59 minutes; call again in 1 minute"):
        dismiss(broken_off, STUDY, "cancelled", clock)
    assert len(broken_off.spool.marks(STUDY)) == 2
    clock.pass_by(1)
    assert dismiss(broken_off, STUDY, "cancelled", clock) == 2


@pytest.mark.parametrize("complete", [False, True])
def test_one_of_which_something_is_there_is_made(broken_off, clock, complete):
    broken_off.take("1.2.3", "1.2.3.2", body())
    if complete:
        settle(broken_off, 0)
    clock.pass_by(HOUR)
    got = (
        "one that is ready, 1 instance stored; there is nothing"
        if complete
        else "1 instance stored; wait until"
    )
    with pytest.raises(IllegalTransition, match=f"of which no instance is stored, got {got}"):
        dismiss(broken_off, STUDY, "cancelled", clock)
    assert len(broken_off.spool.marks(STUDY)) == 1


def test_of_one_that_is_quarantined_it_is_said_what_else_may_be_done(broken_off, clock):
    broken_off.take("1.2.3", "1.2.3.2", body())
    settle(broken_off, 0)
    broken_off.ledger.quarantine(STUDY, "set aside")
    clock.pass_by(HOUR)
    said = "got one that is quarantined, 1 instance stored; its reason .* medkit batch lift .* medkit batch purge"
    with pytest.raises(IllegalTransition, match=said):
        dismiss(broken_off, STUDY, "cancelled", clock)


def test_what_comes_meanwhile_keeps_its_mark(broken_off, clock, monkeypatch):
    ask = broken_off.ledger.arrivals

    def late():
        found = ask()
        broken_off.leave("1.2.3", "1.2.3.9", CUT_OFF)
        return found

    monkeypatch.setattr(broken_off.ledger, "arrivals", late)
    with pytest.raises(IllegalTransition, match="nothing came since it was looked at, got more; wait"):
        dismiss(broken_off, STUDY, "cancelled", clock)
    assert len(broken_off.spool.marks(STUDY)) == 2


def end_and_purge(intake):
    """A revision of the study comes, ends, and its instances are removed."""
    intake.take("1.2.3", "1.2.3.1", body())
    settle(intake, 0)
    intake.ledger.skip(intake.ledger.claim(Stage.MAKE), "no-rule", "nothing to do")
    purge(intake, STUDY)


def test_what_was_made_of_an_earlier_revision_stays(intake, clock):
    """Its instances were purged, and then the sender broke off with what was to come."""
    end_and_purge(intake)
    intake.leave("1.2.3", "1.2.3.2", CUT_OFF)
    clock.pass_by(HOUR)
    assert intake.ledger.study(STUDY).arriving
    dismiss(intake, STUDY, "cancelled", clock)
    record = intake.ledger.study(STUDY)
    assert (record.state, record.revision, record.arriving, record.purged) == (State.SKIPPED, 1, False, True)
    assert intake.ledger.faults() == []
    assert intake.spool.studies() == []


@pytest.mark.parametrize("purged", [False, True], ids=["new", "earlier-revision"])
@pytest.mark.parametrize("fails", ["audit", "marks", "folder"])
def test_what_broke_off_is_done_by_the_next_call(intake, clock, monkeypatch, purged, fails):
    if purged:
        end_and_purge(intake)
    intake.leave("1.2.3", "1.2.3.2", CUT_OFF)
    clock.pass_by(HOUR)

    def full(*args, **fields):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    subject, name = {
        "audit": (intake.audit, "append"),
        "marks": (intake.spool, "found"),
        "folder": (intake.spool, "expect_nothing"),
    }[fails]
    with monkeypatch.context() as patch:
        patch.setattr(subject, name, full)
        with pytest.raises(OSError, match="No space"):
            dismiss(intake, STUDY, "cancelled", clock)
    assert intake.spool.studies() == [STUDY]
    assert dismiss(intake, STUDY, "cancelled", clock) == (0 if fails == "folder" else 1)
    assert intake.spool.studies() == intake.ledger.arrivals() == []
    assert events(intake)[-1] == ("mark-dismissed", CUT_OFF)
    with pytest.raises(
        IllegalTransition,
        match=f"got one that is {'skipped' if purged else 'unknown to the ledger'}; nothing",
    ):
        dismiss(intake, STUDY, "cancelled", clock)


def test_that_it_was_to_be_counted_was_missed_by_nobody(intake, clock):
    intake.begin(STUDY, Mark("ab" * 32, NOT_COUNTED, "count"))
    intake.leave("1.2.3", "1.2.3.2", CUT_OFF)
    clock.pass_by(HOUR)
    assert dismiss(intake, STUDY, "cancelled", clock) == 1
    assert [code for event, code in events(intake) if event == "mark-dismissed"] == [CUT_OFF]
    assert intake.spool.studies() == []
