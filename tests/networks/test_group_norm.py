"""PyTorch's group norm, in the layout of the input, by name in MONAI's networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medkit.networks import create
from medkit.networks.group_norm import NORM, GroupNorm

LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


@pytest.mark.parametrize("dims", [2, 3])
@torch.no_grad()
def test_it_is_pytorchs_in_both_layouts(dims):
    norm, x = GroupNorm(2, 6), torch.randn(2, 6, *[9] * dims) * 4 + 7
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    expected = nn.functional.group_norm(x, 2, norm.weight, norm.bias)
    assert torch.equal(norm(x), expected)
    found = norm(x.to(memory_format=LAST[dims]))
    assert found.is_contiguous(memory_format=LAST[dims])
    torch.testing.assert_close(found, expected)


def test_it_learns_as_pytorchs():
    x = torch.randn(2, 6, 5, 5).to(memory_format=torch.channels_last).requires_grad_()
    norms = GroupNorm(2, 6), nn.GroupNorm(2, 6)
    gradients = [torch.autograd.grad(norm(x).pow(3).sum(), [x, *norm.parameters()]) for norm in norms]
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


@torch.no_grad()
def test_a_network_of_monai_takes_it_by_name_with_the_same_weights():
    given = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "init_filters": 8}
    plain = create("segresnet", **given).eval()
    ours = create("segresnet", norm=(NORM, {"num_groups": 8}), **given).eval()
    ours.load_state_dict(plain.state_dict())
    x = torch.randn(1, 1, 16, 24, 32)
    ours = ours.to(memory_format=torch.channels_last_3d)
    assert {type(module) for module in ours.modules() if isinstance(module, nn.GroupNorm)} == {GroupNorm}
    torch.testing.assert_close(ours(x), plain(x), rtol=1e-4, atol=1e-4)
