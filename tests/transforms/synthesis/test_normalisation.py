"""Percentiles at 0 and 1."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medkit.errors import UsageError
from medkit.transforms.synthesis.normalisation import Normalisation, NormalisationParameters, scaled
from medkit.transforms.synthesis.sample import Sample
from tests.transforms.synthesis.drawn import assert_recorded, phantom, rng

STEP = Normalisation()


def test_percentiles_of_an_even_ramp():
    ramp = torch.arange(1001.0)[torch.randperm(1001)].view(7, 11, 13)
    found = scaled(ramp, 10, 80)
    assert torch.allclose(found, ((ramp - 100) / 700).clamp(0, 1), atol=1e-6)


def test_a_part_of_a_large_image_has_the_percentiles_of_all():
    image = torch.randn(96, 100, 90, generator=rng())
    bottom, top = (
        float(image.flatten().kthvalue(round(part * image.numel())).values) for part in (0.005, 0.995)
    )
    found = scaled(image, 0.5, 99.5)
    assert torch.allclose(found, ((image - bottom) / (top - bottom)).clamp(0, 1), atol=0.01)


@pytest.mark.parametrize("size", [(96, 96, 96), (128, 128, 128), (160, 64, 160)])
def test_percentiles_are_of_all_planes(size):
    """Where the step from voxel to voxel divides the sizes, some planes would be all that is seen."""
    image = torch.zeros(size)
    image[..., 1::2] = torch.arange(1.0, size[-1] // 2 + 1)
    found = scaled(image, 0, 90)
    top = float(image.flatten().kthvalue(round(0.9 * image.numel())).values)
    assert torch.allclose(found, (image / top).clamp(0, 1), atol=0.02)


@given(st.floats(0.01, 100), st.floats(-50, 50))
def test_gain_and_offset_do_not_matter(gain, offset):
    image = phantom().image
    assert torch.allclose(scaled(image, 0.5, 99.5), scaled(gain * image + offset, 0.5, 99.5), atol=2e-2)


def test_an_even_image_becomes_zero():
    found = STEP.apply(
        Sample(torch.zeros(4, 4, 4, dtype=torch.int32), torch.full((4, 4, 4), 7.0)), STEP.draw(rng())
    )
    assert (found.image == 0).all()


def test_the_record_is_empty():
    assert STEP.record(STEP.draw(rng())) == {}
    assert_recorded(STEP, NormalisationParameters())


def test_percentiles_that_are_none_are_refused():
    with pytest.raises(
        UsageError, match=r"low and high: expected two numbers in order between 0 and 100, got \(99, 1\)"
    ):
        Normalisation(99, 1)
