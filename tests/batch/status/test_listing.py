"""What is being received is listed as it is counted."""

from __future__ import annotations

import io

import pytest

from medkit.batch.ledger import Stage, State
from medkit.batch.marks import Mark
from medkit.batch.status.listing import studies_in
from tests.batch.status.live import STATES, study, uid
from tests.batch.status.test_summary import look


def again(batch, name):
    """One more instance of a study that was begun, whose sender may go on."""
    batch.ledger.receive(study(name))
    batch.spool.store(uid(name), f"{uid(name)}.2", io.BytesIO(b"one more"))
    batch.spool.miss(study(name), Mark.not_released("CT1"))


def listed(batch, state, **which):
    return [one.study for one in studies_in(batch.job, batch.ledger, state, **which)]


@pytest.mark.parametrize("state", STATES)
def test_a_study_in_each_state(batch, state):
    batch.one_of_each()
    assert listed(batch, state) == [study(state)]


def test_those_that_come_again_are_listed_as_well_and_are_as_many_as_are_counted(batch):
    batch.deliver("back")
    for name in ("new", "newer"):
        batch.clock.pass_by(1)
        batch.receive(name)
    batch.clock.pass_by(1)
    again(batch, "back")
    names = [study(name) for name in ("back", "newer", "new")]
    assert listed(batch, State.RECEIVING) == names
    assert listed(batch, State.RECEIVING, limit=2, offset=1) == names[1:]
    assert listed(batch, State.DELIVERED) == [study("back")]
    summary = look(batch)
    assert (summary.receiving.count, summary.received_again) == (3, 1)
    assert (summary.counts[State.RECEIVING], summary.counts[State.DELIVERED]) == (2, 1)
    latest = [one.study for one in summary.latest]
    assert sorted(latest) == sorted(names), "each once"


def test_they_have_the_instances_that_are_there_and_say_what_they_wait_for(batch):
    batch.arrive("back")
    batch.ledger.refuse(batch.ledger.claim(Stage.MAKE), "tilt", "expected none")
    again(batch, "back")
    batch.receive("new")
    (new, back) = sorted(studies_in(batch.job, batch.ledger, State.RECEIVING), key=lambda one: one.instances)
    assert (new.study, new.instances, new.code) == (study("new"), 1, None)
    assert (back.state, back.instances, back.code) == (State.REFUSED, 2, "not-released")
    (back,) = studies_in(batch.job, batch.ledger, State.REFUSED)
    assert (back.instances, back.code) == (2, "tilt"), "why it is where it was"
    assert [(one.instances, one.code) for one in look(batch).troubled] == [(2, "tilt")]
