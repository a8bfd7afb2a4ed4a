from __future__ import annotations

from pathlib import Path

import pytest

from medkit.batch.ledger import states
from medkit.batch.ledger.states import ENDS, TRANSITIONS, Stage, State

REVISIONS = set(State) - {State.RECEIVING}


def reached(start):
    found, ahead = set(), {start}
    while ahead:
        found |= ahead
        ahead = {after for state in ahead for after in TRANSITIONS[state]} - found
    return found


def test_every_state_of_a_revision_is_reached_and_leads_to_an_end():
    assert set(TRANSITIONS) == REVISIONS
    assert reached(State.READY) == REVISIONS
    for state in REVISIONS - {State.SUPERSEDED}:
        assert reached(state) & ENDS


def test_only_a_later_revision_replaces_an_earlier():
    assert not TRANSITIONS[State.SUPERSEDED]
    assert all(State.SUPERSEDED in after for state, after in TRANSITIONS.items() if state != State.SUPERSEDED)


@pytest.mark.parametrize("stage", Stage)
def test_a_claim_leads_from_where_it_waits_and_back(stage):
    for source in stage.sources:
        assert stage.leased in TRANSITIONS[source]
    assert {stage.back, stage.again, State.QUARANTINED} <= TRANSITIONS[stage.leased]
    assert {stage.back, stage.again} <= set(stage.sources)


@pytest.mark.parametrize("text", [states.__doc__, Path("docs/batch.md")], ids=["module", "page"])
def test_the_pictures_have_every_state(text):
    root = Path(__file__).parents[3]
    text = (root / text).read_text(encoding="utf-8") if isinstance(text, Path) else text
    assert [state for state in State if state not in text] == []
