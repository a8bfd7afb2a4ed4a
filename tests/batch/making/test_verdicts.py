"""What each error means for a study: tried again, given back, or refused; and nothing of a patient in the reason."""

from __future__ import annotations

import errno

import pytest

from medkit.batch.ledger import IllegalTransition, LeaseLost, LedgerError, State
from medkit.batch.making import attempt, make_study
from medkit.batch.making.study import Ended
from medkit.batch.making.verdicts import Verdict, settle, verdict_on
from medkit.batch.status.alerts import Thresholds, alerts
from medkit.batch.status.summary import summarise
from medkit.errors import CaseError, UsageError
from tests.batch.making.steps import bundle_that
from tests.batch.making.studies import POLICY, claimed, open_desk, shelf_of

ERRORS = [
    (CaseError("gap", "a gap"), State.REFUSED, "gap"),
    (CaseError("not-recognised", "no brain"), State.REFUSED, "not-recognised"),
    (CaseError("out-of-memory", "none left"), State.FAILED, "out-of-memory"),
    (CaseError("too-large", "none left"), State.FAILED, "too-large"),
    (CaseError("pipeline-failed", "a step"), State.FAILED, "pipeline-failed"),
    (CaseError("source-changed", "a file"), State.FAILED, "source-changed"),
    (CaseError("count-mismatch", "too few"), State.FAILED, "count-mismatch"),
    (UsageError("no such bundle"), State.FAILED, "wrong-configuration"),
    (MemoryError(), State.FAILED, "out-of-memory"),
    (OSError(errno.ENOSPC, "No space left on device"), State.READY, "disk-full"),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), State.READY, "disk-full"),
    (OSError(errno.EIO, "Input/output error", "/data/Doe"), State.FAILED, "disk-error"),
    (IllegalTransition("object 2.25.1: expected another content"), State.FAILED, "result-not-taken"),
    (ValueError("Doe^Jane"), State.FAILED, "unexpected-error"),
    (Verdict(State.SKIPPED, "no-rule", "none"), State.SKIPPED, "no-rule"),
]


@pytest.mark.parametrize(("error", "state", "code"), ERRORS, ids=lambda value: str(value)[:20])
def test_what_an_error_means(error, state, code):
    verdict = verdict_on(error)
    assert (verdict.state, verdict.code) == (state, code)
    assert str(verdict)
    assert "Doe" not in str(verdict)


@pytest.mark.parametrize("state", [State.REFUSED, State.SKIPPED, State.FAILED, State.READY])
def test_a_verdict_is_written_into_the_ledger(desk, study, state):
    claim = claimed(desk, study)
    assert settle(claim, Verdict(state, "a-code", "a reason", 30), desk.ledger) is state
    record = desk.ledger.study(claim.study)
    assert (record.state, record.code, record.reason) == (state, "a-code", "a reason")
    assert record.attempts == (0 if state is State.READY else 1)


def test_one_that_is_given_back_waits(desk, study):
    claim = claimed(desk, study)
    settle(claim, Verdict(State.READY, "disk-full", "make room", 30), desk.ledger)
    assert desk.ledger.claim(claim.stage) is None
    desk.clock.pass_by(31)
    assert desk.ledger.claim(claim.stage) is not None


@pytest.mark.parametrize(
    ("what", "state", "code"),
    [
        ("abstains", State.REFUSED, "not-recognised"),
        ("is out of memory", State.FAILED, "out-of-memory"),
        ("fails", State.FAILED, "pipeline-failed"),
    ],
)
def test_how_a_bundle_ends(tmp_path, study, what, state, code):
    desk = open_desk(tmp_path / "desk", shelf_of(bundle_that(tmp_path, what)))
    ended = make_study(claimed(desk, study), desk.context)
    assert (ended.state, ended.code) == (state, code)
    assert ended.reason.startswith("series 003: ")
    assert desk.made() == []


def test_a_study_that_fails_again_and_again_is_quarantined(tmp_path, study):
    desk = open_desk(tmp_path / "desk", shelf_of(bundle_that(tmp_path, "fails")))
    states = [make_study(claimed(desk, study), desk.context).state]
    while states[-1] is State.FAILED:
        desk.clock.pass_by(4000)
        states.append(make_study(claimed(desk), desk.context).state)
    assert states == [State.FAILED] * (POLICY.attempts - 1) + [State.QUARANTINED]


def test_a_fault_of_the_settings_costs_no_study(desk, study, tmp_path):
    missing = desk.with_(shelf=shelf_of(tmp_path / "not-mounted"))
    for _ in range(POLICY.attempts):
        ended = make_study(claimed(missing, study), missing.context)
        desk.clock.pass_by(4000)
    assert (ended.state, ended.code) == (State.QUARANTINED, "wrong-configuration")
    told = alerts(summarise(desk.ledger, desk.clock()), Thresholds(), kept_free_bytes=0)
    assert [alert.code for alert in told] == ["quarantine"]
    desk.ledger.retry(ended.claim.study, "mounted")
    assert make_study(claimed(desk), desk.context).state is State.MADE


def test_a_stage_whose_study_is_somebody_elses_says_nothing_of_it(desk, study):
    claim = claimed(desk, study)

    def late():
        desk.clock.pass_by(POLICY.lease_seconds + 1)
        raise CaseError("gap", "a gap")

    ended = attempt(claim, desk.ledger, "read", late)
    assert isinstance(ended, Ended)
    assert (ended.state, ended.code) == (None, "lease-lost")
    desk.ledger.expire()
    assert desk.ledger.study(claim.study).state is State.READY


def test_a_stage_that_lost_its_lease_while_it_went_well(desk, study):
    claim = claimed(desk, study)
    ended = attempt(claim, desk.ledger, "read", lambda: desk.clock.pass_by(POLICY.lease_seconds + 1))
    assert isinstance(ended, Ended)
    assert ended.state is None
    assert desk.ledger.timings() == {}


def test_a_broken_ledger_is_no_verdict_on_a_study(desk, study):
    def broken():
        raise LedgerError("the disk is gone")

    with pytest.raises(LedgerError, match="the disk is gone"):
        attempt(claimed(desk, study), desk.ledger, "read", broken)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_program_is_let_through(desk, study, error):
    claim = claimed(desk, study)

    def ends():
        raise error

    with pytest.raises(error):
        attempt(claim, desk.ledger, "read", ends)
    assert desk.ledger.study(claim.study).state is State.RUNNING


def test_lost_leases_are_not_verdicts(desk, study):
    claim = claimed(desk, study)
    desk.clock.pass_by(POLICY.lease_seconds + 1)
    with pytest.raises(LeaseLost):
        settle(claim, Verdict(State.REFUSED, "gap", "a gap"), desk.ledger)
