"""LightNet: one state for all voxels, which the additive recurrence ends with, encodings of position, and its twin."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from medkit.networks.lightnet import AdditiveAttention, LightNet, ToeplitzEncoding
from tests.networks.twins import assert_as_many_parameters, far_change

SIZES = (3, 4, 5)


def volume(channels: int = 8, sizes: tuple[int, ...] = SIZES) -> torch.Tensor:
    return torch.randn(2, channels, *sizes, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def attention(**options) -> AdditiveAttention:
    torch.manual_seed(0)
    return AdditiveAttention(3, 8, 2, **options).double()


def test_it_is_the_additive_recurrence():
    """Step by step, with decays and inputs from the running sums; every voxel reads the last state."""
    layer, x = attention(), volume()
    layer.frequencies.zero_()  # no positions: all cosines 1, all sines 0
    line = x.flatten(2)
    query, key, value = (
        part.unflatten(1, (2, 4)) for part in (layer.enter.weight.flatten(1) @ line).chunk(3, 1)
    )
    state, total = torch.zeros(2, 2, 4, 4, dtype=torch.float64), torch.full((2, 2, 4), -torch.inf)
    for step in range(line.shape[-1]):
        before, total = total, torch.logaddexp(total.double(), key[..., step])
        given = torch.exp(key[..., step] - total)[..., None] * value[..., None, :, step]
        state = torch.exp(before - total)[..., None] * state + given
    read = (state.mT @ functional.silu(query)).flatten(1, 2)
    normed = functional.layer_norm(read.mT, (8,)).mT
    gate = layer.gate[1].weight.flatten(1) @ layer.gate[0].weight.flatten(1) @ line
    expected = layer.leave.weight.flatten(1) @ (normed * gate.sigmoid())
    torch.testing.assert_close(layer(x), expected.view_as(x))


def test_order_is_nothing_but_for_the_encodings():
    layer, x = attention(), volume()
    order = torch.randperm(60, generator=torch.Generator().manual_seed(2))

    def shuffled(y: torch.Tensor) -> torch.Tensor:
        return y.flatten(2)[..., order].view_as(y)

    assert not torch.allclose(layer(shuffled(x)), shuffled(layer(x)))
    layer.frequencies.zero_()
    torch.testing.assert_close(layer(shuffled(x)), shuffled(layer(x)))


@pytest.mark.parametrize("axis", [2, 3, 4])
def test_positions_are_relative(axis):
    """The same thing further along an axis is read alike: only distances count."""
    layer = attention()
    layer.enter.weight.data[8:16].zero_()  # all keys alike
    sizes = [9, 9, 9]
    x = torch.zeros(1, 8, *sizes, dtype=torch.float64)
    x[:, :, 2:4, 2:4, 2:4] = volume(sizes=(2, 2, 2))[:1]
    moved = x.roll(3, axis)
    found, expected = layer(moved), layer(x).roll(3, axis)
    there = tuple(slice(5, 7) if axis == other else slice(2, 4) for other in (2, 3, 4))
    torch.testing.assert_close(found[(..., *there)], expected[(..., *there)])


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("length", [1, 100_000])
def test_no_length_and_no_key_is_too_large(scale, length):
    torch.manual_seed(0)
    layer = AdditiveAttention(2, 4, 2)
    layer.enter.weight.data[4:8] *= scale
    x = torch.randn(1, 4, length, 1, requires_grad=True)
    y = layer(x)
    y.square().sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("scan", [True, False])
def test_every_voxel_is_seen_through_the_state(scan):
    layer, x = attention(scan=scan), volume()
    changed = x.clone()
    changed[..., 0, 0, 0] += 1
    with torch.no_grad():
        seen = (layer(x) != layer(changed)).any(1)
    assert seen[:, 0, 0, 0].all()
    assert bool(seen[:, 1:].any()) is scan
    assert bool(seen.all()) is scan


def test_the_toeplitz_encoding_adds_what_lies_along_the_axes():
    torch.manual_seed(0)
    encoding, x = ToeplitzEncoding(3, 8).double(), volume()
    added = torch.zeros_like(x)
    for axis, size in enumerate(SIZES):
        for here in range(size):
            for there in range(size):
                weight = encoding.weights[axis] * torch.exp(
                    -abs(here - there) * encoding.log_rates[axis].exp()
                )
                added.select(axis + 2, here).add_(weight.view(-1, 1, 1) * x.select(axis + 2, there))
    normed = functional.layer_norm(added.movedim(1, -1), (8,)).movedim(-1, 1)
    expected = x + functional.conv3d(normed, encoding.leave.weight)
    torch.testing.assert_close(encoding(x), expected)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_twin_has_as_many_parameters_and_no_state(spatial_dims):
    network, twin = (LightNet(spatial_dims, 1, 3, scan=scan) for scan in (True, False))
    assert_as_many_parameters(network, twin)
    assert sum(isinstance(module, ToeplitzEncoding) for module in network.modules()) == 3
    assert not any(isinstance(module, ToeplitzEncoding) for module in twin.modules())
    layers = [module for module in twin.modules() if isinstance(module, AdditiveAttention)]
    assert len(layers) == 6
    assert not any(layer.scan for layer in layers)


def test_the_far_corner_is_seen():
    """Through the state: the convolutions reach no further than a part of the image."""
    small = {"filters": (4, 8), "depths": (1, 1), "heads": 2, "halvings": 0}
    assert far_change(LightNet, **small) > 0
    assert far_change(LightNet, **small, scan=False) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depths": (1, 1)}, r"expected a depth of 1 or more for each of the 3 stages, got \(1, 1\)"),
        ({"depths": (1, 0, 1)}, r"expected a depth of 1 or more for each of the 3 stages, got \(1, 0, 1\)"),
        ({"heads": 3}, r"expected filters that 3 heads divide, got \(64, 128, 192\)"),
        ({"filters": (4, 8, 8), "halvings": 3}, r"expected filters\[0\] to be a multiple of 8, got 4"),
    ],
)
def test_what_it_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        LightNet(3, 1, 2, **arguments)
