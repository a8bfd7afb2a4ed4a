"""Rician noise: Rayleigh in the background, Gaussian in the bright, and the same as noise added in k-space."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from medkit.errors import UsageError
from medkit.transforms.synthesis.kspace_noise import KSpaceNoise, KSpaceNoiseParameters
from medkit.transforms.synthesis.sample import Sample
from tests.transforms.synthesis.drawn import assert_even, assert_proportion, assert_recorded, many, phantom

STEP = KSpaceNoise()


def noisy(level, std, size=(40, 40, 40)):
    """An even image with one voxel of 1, so that the deviation is what is told."""
    image = torch.full(size, level)
    image[0, 0, 0] = 1
    return STEP.apply(Sample(image.int(), image), KSpaceNoiseParameters(std, 5)).image.flatten()[1:]


@pytest.mark.parametrize("level", [0.0, 0.05, 0.2, 0.9])
def test_the_distribution_is_rician(level):
    found = noisy(level, 0.05)
    expected = stats.rice(level / 0.05, scale=0.05)
    assert float(found.mean()) == pytest.approx(
        expected.mean(), abs=4 * expected.std() / math.sqrt(len(found))
    )
    assert float(found.std()) == pytest.approx(expected.std(), rel=0.03)
    assert stats.kstest(found[:4000].double().numpy(), expected.cdf).pvalue > 1e-3


def test_white_noise_in_k_space_is_white_noise_in_the_image():
    size = (24, 30, 28)
    rng = torch.Generator().manual_seed(0)
    noise = torch.complex(torch.randn(size, generator=rng), torch.randn(size, generator=rng))
    image = torch.full(size, 0.3)
    lines = torch.fft.fftn(image, norm="ortho") + 0.05 * noise
    found = torch.fft.ifftn(lines, norm="ortho").abs()
    expected = stats.rice(0.3 / 0.05, scale=0.05)
    assert float(found.mean()) == pytest.approx(expected.mean(), rel=0.01)
    assert float(found.std()) == pytest.approx(expected.std(), rel=0.03)


def test_the_deviation_is_in_parts_of_the_maximum():
    sample = phantom()
    brighter = sample.with_image(sample.image * 500)
    one, other = (STEP.apply(each, KSpaceNoiseParameters(0.1, 2)).image for each in (sample, brighter))
    assert torch.allclose(one * 500, other, rtol=1e-4)


def test_no_noise_is_no_change():
    sample = phantom()
    assert STEP.apply(sample, KSpaceNoiseParameters(0.0, 1)) is sample


def test_the_seed_alone_makes_the_noise():
    one, same, other = (STEP.apply(phantom(), KSpaceNoiseParameters(0.1, seed)).image for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_distributions():
    step = KSpaceNoise(0.6, (0.01, 0.05))
    drawn = many(step)
    assert_proportion((one.std > 0 for one in drawn), 0.6)
    assert_even((one.std for one in drawn if one.std), 0.01, 0.05)
    assert_recorded(step, drawn[0])


def test_a_deviation_below_zero_is_refused():
    with pytest.raises(UsageError, match="std: expected two numbers in order of at least 0"):
        KSpaceNoise(std=(-0.1, 0.1))
