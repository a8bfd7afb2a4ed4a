"""Copies of the head a part of the field of view away."""

from __future__ import annotations

import pytest
import torch

from medkit.errors import UsageError
from medkit.transforms.synthesis.ghosts import Ghosts, GhostsParameters
from medkit.transforms.synthesis.sample import Sample
from tests.transforms.synthesis.drawn import assert_even, assert_proportion, assert_recorded, many, phantom

STEP = Ghosts()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("period", [2, 3, 4])
def test_copies_lie_a_part_of_the_axis_away(axis, period):
    sizes = [6, 6, 6]
    sizes[axis] = 24
    image = torch.zeros(sizes)
    middle = [3, 3, 3]
    middle[axis] = 2
    image[tuple(middle)] = 1.0
    found = STEP.apply(Sample(image.int(), image), GhostsParameters(axis, period, 0.6)).image
    line = found.movedim(axis, -1)[3, 3]
    places = [2 + 24 // period * copy for copy in range(period)]
    # The line in the middle stays, which puts 0.6 / 24 of the point everywhere.
    expected = torch.full((24,), 0.6 / 24)
    expected[places] = abs(0.6 / 24 - 0.6 / period)
    expected[2] = 1 - 0.6 / period + 0.6 / 24
    assert torch.allclose(line, expected, atol=1e-5)
    others = found.movedim(axis, -1).clone()
    others[3, 3] = 0
    assert others.abs().max() < 1e-6, "only along one axis"


def test_the_mean_stays_where_copies_do_not_cancel():
    sample = phantom()
    found = STEP.apply(sample, GhostsParameters(1, 3, 0.3)).image
    assert found.mean() == pytest.approx(float(sample.image.mean()), rel=0.05)
    assert not torch.allclose(found, sample.image, atol=0.01)


def test_no_strength_is_no_change():
    sample = phantom()
    assert STEP.apply(sample, GhostsParameters(0, 2, 0.0)) is sample


@pytest.mark.parametrize("length", [7, 8])
def test_odd_and_even_sizes(length):
    image = torch.rand(length, length, length)
    found = STEP.apply(Sample(image.int(), image), GhostsParameters(0, 2, 0.5)).image
    assert found.shape == image.shape
    assert torch.isfinite(found).all()


def test_distributions():
    step = Ghosts(0.4, (2, 4), (0.2, 0.6))
    drawn = many(step)
    assert_proportion((one.strength > 0 for one in drawn), 0.4)
    assert_even((one.strength for one in drawn if one.strength), 0.2, 0.6)
    for axis in range(3):
        assert_proportion((one.axis == axis for one in drawn), 1 / 3)
        assert_proportion((one.period == axis + 2 for one in drawn), 1 / 3)
    assert_recorded(step, drawn[0])


def test_a_period_of_one_is_refused():
    with pytest.raises(UsageError, match="period: expected two numbers in order of at least 2"):
        Ghosts(period=(1, 3))
