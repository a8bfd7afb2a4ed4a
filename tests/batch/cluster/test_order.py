"""An outcome is found as it was left, or not at all."""

from __future__ import annotations

import pytest

from medkit.batch.cluster.order import ENDED, Outcome, OutcomeKind

OUTCOMES = [
    Outcome(
        OutcomeKind.MADE,
        "tcp://10.0.0.7:1",
        made=(("brain/003.seg.dcm", "1.2", "a" * 64, "b" * 64),),
        recipe="c" * 64,
        makers=(("brain", "0.1.0", "d" * 64),),
        refused="1 of 2 series that rules want was refused (gap)",
        seconds={"read": 0.5},
    ),
    Outcome(OutcomeKind.VERDICT, "tcp://10.0.0.7:1", verdict=("refused", "tilt", "it is tilted", 0.0)),
]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda one: one.kind)
def test_it_is_found_as_it_was_left(tmp_path, outcome):
    outcome.leave(tmp_path)
    assert Outcome.left_in(tmp_path) == outcome


def test_a_folder_that_the_service_removed_is_not_made_again(tmp_path):
    OUTCOMES[0].leave(tmp_path / "study" / "1" / ".part-3")
    assert list(tmp_path.iterdir()) == []


def test_nothing_and_half_of_it_are_nothing(tmp_path):
    assert Outcome.left_in(tmp_path) is None
    OUTCOMES[0].leave(tmp_path)
    whole = (tmp_path / ENDED).read_bytes()
    (tmp_path / ENDED).write_bytes(whole[: len(whole) // 2])
    assert Outcome.left_in(tmp_path) is None
