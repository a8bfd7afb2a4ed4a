"""The same numbers as PyTorch's instance norm, in the layout of the input."""

from __future__ import annotations

import pytest
import torch
from monai.networks.layers.utils import get_norm_layer
from torch import nn

from medkit.networks import instance_norm
from medkit.networks.instance_norm import NORM

LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
OWN = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


def norms(dims, channels):
    """Ours, by the name that MONAI's blocks are given, and PyTorch's with the same weights."""
    ours = get_norm_layer(NORM, spatial_dims=dims, channels=channels)
    generator = torch.Generator().manual_seed(0)
    for parameter in ours.parameters():
        nn.init.normal_(parameter, generator=generator)
    own = OWN[dims](channels, affine=True)
    own.load_state_dict(ours.state_dict())
    return ours, own


def image(dims, dtype=torch.float32, side=24):
    """Channels of very different means."""
    x = torch.randn(2, 6, *[side] * dims, generator=torch.Generator().manual_seed(1))
    return (x + torch.arange(-8, 10, 3).view(6, *[1] * dims)).to(dtype)


@pytest.mark.parametrize("dims", [2, 3])
def test_channels_last_in_bfloat16(dims):
    ours, own = norms(dims, 6)
    x = image(dims, torch.bfloat16)
    with torch.no_grad():
        found = ours(x.to(memory_format=LAST[dims]))
        exact = own.double()(x.double())
    assert found.is_contiguous(memory_format=LAST[dims])
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=2**-7, atol=2**-7)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_up_to_the_largest_image_that_it_serves(threads):
    """Where sums of so many voxels in float32 lose most; how many at a time depends on the threads."""
    x = torch.randn(1, 1, 2**8, 2**8, generator=torch.Generator().manual_seed(1))
    x = (x + 4).bfloat16().expand(-1, 2, -1, -1).contiguous(memory_format=torch.channels_last)
    ours, own = norms(2, 2)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            assert instance_norm._is_served(ours, x)
            assert not instance_norm._is_served(ours, torch.cat([x, x], 2))
            torch.testing.assert_close(ours(x).double(), own.double()(x.double()), rtol=2**-7, atol=2**-7)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    ("dtype", "last", "learns"),
    [
        (torch.float32, True, False),
        (torch.float32, True, True),
        (torch.float32, False, False),
        (torch.bfloat16, False, False),
        (torch.bfloat16, True, True),
    ],
)
def test_elsewhere_it_is_pytorchs_own_to_the_bit(dims, dtype, last, learns):
    ours, own = norms(dims, 6)
    x = image(dims, dtype).to(memory_format=LAST[dims] if last else torch.contiguous_format)
    with torch.set_grad_enabled(learns):
        found, expected = ours(x), own(x)
    assert torch.equal(found, expected)
    if learns:
        found.square().sum().backward()
        expected.square().sum().backward()
        assert torch.equal(ours.weight.grad, own.weight.grad)
