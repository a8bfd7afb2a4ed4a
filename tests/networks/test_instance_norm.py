"""The same numbers as PyTorch's instance norm, in the layout of the input."""

from __future__ import annotations

import pytest
import torch
from monai.networks.layers.utils import get_norm_layer
from torch import nn

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
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 2**-20), (torch.bfloat16, 2**-7)])
def test_channels_last_stay_so(dims, dtype, rounding):
    ours, own = norms(dims, 6)
    x = image(dims, dtype)
    with torch.no_grad():
        found = ours(x.to(memory_format=LAST[dims]))
        exact = own.double()(x.double())
    assert found.is_contiguous(memory_format=LAST[dims])
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), exact, rtol=rounding, atol=rounding)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 2**-18), (torch.bfloat16, 2**-6)])
def test_it_learns_in_channels_last_too(dims, dtype, rounding):
    ours, own = norms(dims, 6)
    x = image(dims, dtype)
    given = [x.to(memory_format=LAST[dims]).requires_grad_(), *ours.parameters()]
    found = torch.autograd.grad(ours(given[0]).double().pow(3).sum(), given)
    doubles = [x.double().requires_grad_(), *own.double().parameters()]
    expected = torch.autograd.grad(own(doubles[0]).pow(3).sum(), doubles)
    assert found[0].is_contiguous(memory_format=LAST[dims])
    for one, other in zip(found, expected, strict=True):
        assert (one.double() - other).abs().max() <= rounding * other.abs().max()


@torch.no_grad()
def test_a_trace_knows_pytorchs_operator_alone():
    ours, _ = norms(3, 6)
    x = image(3).to(memory_format=LAST[3])
    traced = torch.jit.trace(ours, x)
    exported = torch.export.export(ours, (x,))
    assert "medkit::" not in str(traced.graph)
    assert "medkit." not in str(exported.graph)
    torch.testing.assert_close(traced(x), ours(x))
    torch.testing.assert_close(exported.module()(x), ours(x))


@torch.no_grad()
def test_a_single_voxel_is_refused_as_by_pytorch():
    ours, _ = norms(3, 6)
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        ours(torch.randn(1, 6, 1, 1, 1).to(memory_format=LAST[3]))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("dtype", "learns"), [(torch.float32, False), (torch.bfloat16, True)])
def test_elsewhere_it_is_pytorchs_own_to_the_bit(dims, dtype, learns):
    ours, own = norms(dims, 6)
    x = image(dims, dtype)
    with torch.set_grad_enabled(learns):
        found, expected = ours(x), own(x)
    assert torch.equal(found, expected)
    if learns:
        found.square().sum().backward()
        expected.square().sum().backward()
        assert torch.equal(ours.weight.grad, own.weight.grad)
