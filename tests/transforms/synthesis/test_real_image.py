"""A real scan has the weight that was drawn."""

from __future__ import annotations

import pytest
import torch

from medkit.errors import UsageError
from medkit.transforms.synthesis.real_image import RealImage, RealImageParameters
from medkit.transforms.synthesis.sample import Sample
from tests.transforms.synthesis.drawn import assert_even, assert_proportion, assert_recorded, many

LABELS = torch.zeros(10, 10, 10, dtype=torch.int32)
STEP = RealImage(low=0, high=100)


def test_the_mean_of_both():
    image, real = torch.rand(10, 10, 10), torch.arange(1000.0).view(10, 10, 10)
    found = STEP.apply(Sample(LABELS, image, real), RealImageParameters(0.3)).image
    assert torch.allclose(found, 0.7 * image + 0.3 * real / 999, atol=1e-6)


def test_weight_one_is_the_scan():
    real = torch.rand(10, 10, 10) * 3000 - 50
    found = STEP.apply(Sample(LABELS, torch.rand(10, 10, 10), real), RealImageParameters(1.0)).image
    assert torch.allclose(found, (real - real.min()) / (real.max() - real.min()), atol=1e-6)


def test_lesions_stay_in_full():
    image, real, lesions = (
        torch.rand(10, 10, 10),
        torch.arange(1000.0).view(10, 10, 10),
        torch.zeros(10, 10, 10),
    )
    lesions[4], lesions[5] = 1, 0.5
    found = STEP.apply(Sample(LABELS, image, real, lesions), RealImageParameters(0.8)).image
    assert torch.allclose(found[4], image[4])
    assert torch.allclose(found[5], 0.6 * image[5] + 0.4 * real[5] / 999, atol=1e-6)
    assert torch.allclose(found[6], 0.2 * image[6] + 0.8 * real[6] / 999, atol=1e-6)


@pytest.mark.parametrize(("weight", "real"), [(0.7, None), (0.0, torch.rand(10, 10, 10))])
def test_without_a_scan_or_weight_nothing_changes(weight, real):
    sample = Sample(LABELS, torch.rand(10, 10, 10), real)
    assert STEP.apply(sample, RealImageParameters(weight)) is sample


def test_distributions():
    step = RealImage(0.3, (0.2, 0.6))
    drawn = many(step)
    assert_proportion((one.weight > 0 for one in drawn), 0.3)
    assert_even((one.weight for one in drawn if one.weight), 0.2, 0.6)
    assert_recorded(step, drawn[0])


def test_a_weight_above_one_is_refused():
    with pytest.raises(UsageError, match="weight: expected two numbers in order between 0 and 1"):
        RealImage(weight=(0, 2))
