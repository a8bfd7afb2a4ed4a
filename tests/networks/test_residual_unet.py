"""The residual U-Net: where its layers between the stages stand, strides of each axis, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medkit.networks.residual_unet import ResidualUNet


def test_a_mixer_stands_behind_its_stage():
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(tuple(x.shape[1:]))
            return x

    network = ResidualUNet(3, 1, 2, (4, 6, 8), (2, (2, 2, 1)), (Spy(), None, Spy()))
    assert network(torch.randn(1, 1, 8, 9, 5)).shape == (1, 2, 8, 9, 5)
    assert seen == [(4, 8, 12, 6), (8, 2, 3, 3)]


def test_filters_and_strides_that_do_not_fit():
    with pytest.raises(ValueError, match="a stride between every two stages, got 3 stages and 3 strides"):
        ResidualUNet(3, 1, 2, (4, 6, 8), (1, 2, 2), (None, None, None))
