"""Steps in order, with a record by name."""

from __future__ import annotations

import pytest
import torch

from medkit.errors import UsageError
from medkit.transforms.synthesis.chain import Chain
from medkit.transforms.synthesis.gamma import Gamma
from medkit.transforms.synthesis.kspace_noise import KSpaceNoise
from tests.transforms.synthesis.drawn import assert_recorded, phantom, rng


def test_steps_are_applied_in_order():
    chain = Chain([Gamma(), KSpaceNoise(1.0)])
    drawn = chain.draw(rng())
    sample = phantom()
    expected = KSpaceNoise().apply(Gamma().apply(sample, drawn[0]), drawn[1])
    assert torch.equal(chain.apply(sample, drawn).image, expected.image)
    assert not torch.equal(expected.image, sample.image)


def test_no_steps_change_nothing():
    sample = phantom()
    assert Chain([]).apply(sample, Chain([]).draw(rng())) is sample


def test_the_record_names_the_steps():
    chain = Chain([Gamma(), KSpaceNoise()])
    drawn = chain.draw(rng())
    assert [entry["step"] for entry in chain.record(drawn)] == ["Gamma", "KSpaceNoise"]
    assert_recorded(chain, drawn)


@pytest.mark.parametrize("steps", [[], [KSpaceNoise()], [KSpaceNoise(), Gamma()]])
def test_a_record_of_other_steps_is_refused(steps):
    chain = Chain([Gamma(), KSpaceNoise()])
    record = Chain(steps).record(Chain(steps).draw(rng()))
    with pytest.raises(UsageError, match=r"expected the steps \['Gamma', 'KSpaceNoise'\], got \["):
        chain.parameters_from(record)
