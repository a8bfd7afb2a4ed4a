"""Records of parameters: what JSON gives back is what was drawn."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medkit.errors import UsageError
from medkit.transforms.synthesis.step import Step
from tests.transforms.synthesis.drawn import assert_recorded

finite = st.floats(allow_nan=False, allow_infinity=False)


@dataclass(frozen=True)
class Numbers:
    one: float
    several: tuple[tuple[float, ...], ...]
    yes: bool
    seed: int


class Anything(Step):
    parameters_type = Numbers

    def draw(self, rng):
        return Numbers(0.0, (), yes=False, seed=0)

    def apply(self, sample, parameters):
        return sample


@given(
    finite,
    st.lists(st.lists(finite, max_size=3).map(tuple), max_size=3).map(tuple),
    st.booleans(),
    st.integers(),
)
def test_records_come_back_from_json(one, several, yes, seed):
    assert_recorded(Anything(), Numbers(one, several, yes, seed))


@pytest.mark.parametrize(
    "record", [{}, {"one": 1}, [1, 2], None, {"one": 1, "several": [], "yes": 1, "seed": 0, "x": 1}]
)
def test_records_of_something_else_are_refused(record):
    with pytest.raises(
        UsageError, match=r"record of Anything: expected .*'one', 'seed', 'several', 'yes'.*, got "
    ):
        Anything().parameters_from(record)
