"""The chunked form gives what the reference gives, however it cuts the sequence."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medkit.ops.selective_scan import chunked, selective_scan_reference
from medkit.ops.selective_scan.inputs import Inputs
from tests.ops.selective_scan.cases import (
    arguments,
    assert_close,
    assert_same,
    drawn_arguments,
    flipped,
    kernel_results,
    reference_results,
)

pytestmark = pytest.mark.usefixtures("poisoned")


@settings(max_examples=40)
@given(case=drawn_arguments(longest=40), at_once=st.integers(1, 400), segment=st.integers(1, 2000))
def test_results_are_those_of_the_reference(case, at_once, segment):
    drawn, options = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunked, "_STATES_AT_ONCE", at_once)
        patch.setattr(chunked, "_STATES_OF_SEGMENT", segment)
        found = kernel_results(chunked, drawn, **options)
    assert_close(found, reference_results(drawn, **options), drawn)


@pytest.mark.parametrize("segment", [12, 96, 1 << 20])
@pytest.mark.parametrize(
    "options", [{"delta_softplus": True, "reverse": False}, {"delta_softplus": False, "reverse": True}]
)
def test_double_precision(monkeypatch, segment, options):
    monkeypatch.setattr(chunked, "_STATES_OF_SEGMENT", segment)
    drawn = arguments(2, 3, 30, states=2, dtype=torch.float64)
    assert_close(kernel_results(chunked, drawn, **options), reference_results(drawn, **options), drawn)


def test_a_long_sequence_at_full_size():
    drawn = arguments(1, 16, 3001, states=16)
    options = {"delta_softplus": True, "reverse": False}
    assert_close(
        kernel_results(chunked, drawn, **options), reference_results(drawn, **options), drawn, times=2
    )


def test_reverse_is_the_scan_of_what_was_flipped(monkeypatch):
    monkeypatch.setattr(chunked, "_STATES_OF_SEGMENT", 200)
    drawn = arguments(2, 3, 41, without=("z",))
    found = kernel_results(chunked, drawn, delta_softplus=False, reverse=True)
    there = flipped(drawn)
    expected = kernel_results(chunked, there, delta_softplus=False, reverse=False)
    plain = {name: found[name].flip(-1) if name == "out" else found[name] for name in ("out", "last_state")}
    assert_same(plain, {name: expected[name] for name in plain})


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_growth_of_nothing_is_nothing(sign):
    """The factor of a chunk overflows, and meets a state of zero until the input sets in."""
    u = torch.zeros(1, 4, 10_000)
    u[..., -5:] = 1
    given = {"u": u, "delta": torch.full_like(u, sign), "A": torch.full((4, 2), sign)}
    given |= {"B": torch.ones(1, 1, 2, 10_000), "C": torch.ones(1, 1, 2, 10_000)}
    out, last_state, _ = chunked.forward(Inputs(**given), False, False, False)
    expected = selective_scan_reference(**given, return_last_state=True)
    torch.testing.assert_close((out, last_state), expected)
