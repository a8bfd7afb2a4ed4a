"""Smooth, positive, and as strong as drawn."""

from __future__ import annotations

import pytest
import torch

from medkit.errors import UsageError
from medkit.transforms.synthesis.bias_field import BiasField, BiasFieldParameters, log_field
from medkit.transforms.synthesis.sample import Sample
from tests.transforms.synthesis.drawn import assert_even, assert_recorded, many, phantom

STEP = BiasField()
CPU = torch.device("cpu")


def test_the_image_times_the_field():
    parameters = BiasFieldParameters(0.5, 5, 3)
    sample = phantom()
    field = log_field(parameters, tuple(sample.image.shape), CPU).exp()
    assert torch.allclose(STEP.apply(sample, parameters).image, sample.image * field)


def test_the_field_is_smooth_and_as_strong_as_told():
    size = (60, 60, 60)
    weak, strong = (log_field(BiasFieldParameters(std, 4, 8), size, CPU) for std in (0.1, 0.7))
    assert torch.allclose(strong, 7 * weak, atol=1e-5)
    assert strong.diff(dim=0).abs().max() < 0.1 * (strong.max() - strong.min())
    spreads = [
        log_field(BiasFieldParameters(1.0, 4, seed), (20, 20, 20), CPU).square().mean() for seed in range(40)
    ]
    assert 0.05 < sum(spreads) / 40 < 0.5, "the spline averages its coefficients"


def test_no_strength_is_no_change():
    sample = phantom()
    assert STEP.apply(sample, BiasFieldParameters(0.0, 4, 0)) is sample


def test_zero_stays_zero():
    image = torch.zeros(8, 8, 8)
    image[4] = 1
    found = STEP.apply(Sample(image.int(), image), BiasFieldParameters(0.7, 4, 1)).image
    assert torch.equal(found == 0, image == 0)


def test_distributions():
    drawn = many(STEP)
    assert_even((one.std for one in drawn), 0, 0.7)
    assert {one.points for one in drawn} == {4, 5, 6}
    assert len({one.seed for one in drawn}) == len(drawn)
    assert_recorded(STEP, drawn[0])


def test_too_few_points_are_refused():
    with pytest.raises(UsageError, match="points: expected two numbers in order of at least 4"):
        BiasField(points=(2, 4))
