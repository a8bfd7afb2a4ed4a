"""A power, brighter as often as darker."""

from __future__ import annotations

import math

import pytest
import torch

from medkit.errors import UsageError
from medkit.transforms.synthesis.gamma import Gamma, GammaParameters
from medkit.transforms.synthesis.sample import Sample
from tests.transforms.synthesis.drawn import assert_proportion, assert_recorded, many, phantom


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_a_power_of_the_image(exponent):
    image = phantom().image * 40
    found = Gamma().apply(Sample(phantom().labels, image), GammaParameters(exponent)).image
    assert torch.allclose(found, (image / image.max()) ** exponent)


def test_black_stays_black():
    sample = Sample(torch.zeros(3, 3, 3, dtype=torch.int32), torch.zeros(3, 3, 3))
    assert (Gamma().apply(sample, GammaParameters(0.3)).image == 0).all()


def test_the_logarithm_is_normal():
    drawn = many(Gamma(0.4), 4000)
    logs = torch.tensor([math.log(one.exponent) for one in drawn])
    assert abs(logs.mean()) < 4 * 0.4 / 4000**0.5
    assert logs.std() == pytest.approx(0.4, rel=0.05)
    assert_proportion((one.exponent > 1 for one in drawn), 0.5)
    assert_recorded(Gamma(), drawn[0])


def test_no_deviation_is_no_change():
    assert {one.exponent for one in many(Gamma(0.0), 5)} == {1.0}


def test_a_deviation_below_zero_is_refused():
    with pytest.raises(UsageError, match="log_std: expected two numbers in order"):
        Gamma(-0.1)
