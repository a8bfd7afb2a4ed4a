"""A box of the grid stays; image and labels beyond it are 0."""

from __future__ import annotations

import pytest
import torch

from medkit.errors import UsageError
from medkit.transforms.synthesis.field_of_view import FieldOfView, FieldOfViewParameters
from medkit.transforms.synthesis.sample import Sample
from tests.transforms.synthesis.drawn import assert_even, assert_proportion, assert_recorded, many

STEP = FieldOfView()
SAMPLE = Sample(torch.full((20, 10, 30), 2, dtype=torch.int32), torch.rand(20, 10, 30) + 0.1)


def test_the_box_stays():
    found = STEP.apply(SAMPLE, FieldOfViewParameters((0.1, 0.0, 0.2), (0.25, 0.3, 0.0)))
    box = (slice(2, 15), slice(0, 7), slice(6, 30))
    assert torch.equal(found.image[box], SAMPLE.image[box])
    assert (found.labels[box] == 2).all()
    assert (found.image > 0).sum() == (found.labels > 0).sum() == 13 * 7 * 24


def test_what_cannot_be_seen_is_no_lesion():
    sample = Sample(SAMPLE.labels, SAMPLE.image, lesions=torch.ones(20, 10, 30))
    found = STEP.apply(sample, FieldOfViewParameters((0.5, 0.0, 0.0), (0.0,) * 3))
    assert torch.equal(found.lesions > 0, found.labels > 0)
    assert found.lesions.sum() == 10 * 10 * 30


def test_nothing_cut_is_as_it_was():
    assert STEP.apply(SAMPLE, FieldOfViewParameters((0.0,) * 3, (0.0,) * 3)) is SAMPLE


def test_distributions():
    step = FieldOfView(0.3, (0.1, 0.4))
    drawn = many(step, seed=1)
    for axis in range(3):
        assert_proportion((one.below[axis] > 0 for one in drawn), 0.3)
        assert all((one.below[axis] > 0) == (one.above[axis] > 0) for one in drawn)
        assert_even((one.below[axis] for one in drawn if one.below[axis]), 0.1, 0.4)
        assert_even((one.above[axis] for one in drawn if one.above[axis]), 0.1, 0.4)
    assert_recorded(step, drawn[0])


def test_something_stays_whatever_is_drawn():
    step = FieldOfView(1.0, (0.49, 0.49))
    small = Sample(torch.full((1, 9, 50), 2, dtype=torch.int32), torch.ones(1, 9, 50))
    found = step.apply(small, many(step, 1)[0])
    assert (found.image > 0).any()


def test_a_cut_of_one_half_is_refused():
    with pytest.raises(UsageError, match=r"largest: expected two numbers in order between 0 and 0\.49"):
        FieldOfView(largest=(0, 0.5))
