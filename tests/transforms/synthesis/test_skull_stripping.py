"""Brain alone, with or without the fluid, its gaps closed, and wider by so many voxels."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medkit.errors import UsageError
from medkit.transforms.synthesis.brain_labels import brain_scheme
from medkit.transforms.synthesis.sample import Sample
from medkit.transforms.synthesis.skull_stripping import SkullStripping, SkullStrippingParameters
from tests.transforms.synthesis.drawn import assert_proportion, assert_recorded, many, phantom

STEP = SkullStripping(brain_scheme())
OUTSIDE = (507, 511, 515)


def test_the_brain_stays_as_it_is():
    sample = phantom()
    brain = (sample.labels > 0) & (sample.labels < 200) & (sample.labels != 24)
    found = STEP.apply(sample, SkullStrippingParameters(True, False, 0, 0))
    assert torch.equal(found.labels, sample.labels * brain)
    assert torch.equal(found.image, sample.image * brain)
    assert not set(found.labels.unique().tolist()) & {24, *OUTSIDE}


def test_what_is_cut_away_is_no_lesion():
    sample = dataclasses.replace(phantom(), lesions=torch.ones(phantom().labels.shape))
    found = STEP.apply(sample, SkullStrippingParameters(True, False, 1, 1))
    assert torch.equal(found.lesions > 0, found.image > 0)
    assert 0 < found.lesions.mean() < 1


def test_fluid_may_stay():
    sample = phantom()
    found = STEP.apply(sample, SkullStrippingParameters(True, True, 0, 0))
    assert torch.equal(found.labels == 24, sample.labels == 24)
    assert not set(found.labels.unique().tolist()) & set(OUTSIDE)


@settings(max_examples=15)
@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 999))
def test_the_mask_is_closed_then_dilated(closing, dilation, seed):
    brain = torch.rand(9, 10, 11, generator=torch.Generator().manual_seed(seed)) < 0.02
    sample = Sample(torch.where(brain, 16, 507).int(), torch.ones(9, 10, 11))
    found = STEP.apply(sample, SkullStrippingParameters(True, False, closing, dilation)).image > 0
    cube = torch.ones(3, 3, 3).numpy()
    expected = brain.numpy()
    for _ in range(closing + dilation):
        expected = ndimage.binary_dilation(expected, cube)
    for _ in range(closing):
        expected = ndimage.binary_erosion(expected, cube, border_value=1)
    assert torch.equal(found, torch.from_numpy(expected))


def test_no_brain_is_lost_whatever_is_drawn():
    sample = phantom()
    brain = brain_scheme().mask(sample.labels, ["brain"])
    for parameters in many(SkullStripping(brain_scheme(), 1.0), 20):
        found = STEP.apply(sample, parameters)
        assert torch.equal(found.labels[brain], sample.labels[brain])
        assert (found.image[found.labels == 0] >= 0).all()


def test_not_stripped_is_as_it_was():
    sample = phantom()
    assert STEP.apply(sample, SkullStrippingParameters(False, True, 2, 3)) is sample


def test_distributions():
    step = SkullStripping(brain_scheme(), 0.3, 0.6, (1, 2), (0, 3))
    drawn = many(step)
    assert_proportion((one.stripped for one in drawn), 0.3)
    assert_proportion((one.fluid for one in drawn), 0.6)
    for voxels in range(4):
        assert_proportion((one.dilation == voxels for one in drawn), 0.25)
    assert {one.closing for one in drawn} == {1, 2}
    assert_recorded(step, drawn[0])


def test_a_dilation_below_zero_is_refused():
    with pytest.raises(UsageError, match="dilation: expected two numbers in order of at least 0"):
        SkullStripping(brain_scheme(), dilation=(-1, 2))
