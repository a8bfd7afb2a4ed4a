"""MobileMamba: what each part of the channels sees, where its stages stand, and its twin."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medkit.networks.mamba_layer import MambaLayer
from medkit.networks.mobile_mamba import MobileMamba, MultiReceptiveField, WaveletMamba
from tests.networks.twins import assert_as_many_parameters, without_norms

SIZES = (12, 11, 13)


def difference(module: nn.Module, channels: int, voxel: tuple[int, ...]) -> torch.Tensor:
    """How much each output changes with one input voxel, ``(channels, *sizes)``."""
    x = torch.randn(1, channels, *SIZES, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    changed = x.clone()
    changed[(slice(None), slice(None), *voxel)] *= -2
    with torch.no_grad():
        return (module(x) - module(changed))[0].abs()


def test_a_part_sees_all_a_part_its_neighbours_and_a_part_itself():
    torch.manual_seed(0)
    mixer = without_norms(MultiReceptiveField(3, 10, 0.4, 0.4, (3, 5), 1, scan=True)).double()
    assert mixer.parts == [4, 2, 2, 2]
    for convolution in mixer.near:  # a ReLU would hide some of what is seen
        convolution.adn = nn.Identity()
    middle = (6, 5, 6)
    seen = difference(mixer, 10, middle) > 0
    assert seen[:4].any(0).all()
    for channels, reach in ((seen[4:6], 1), (seen[6:8], 2), (seen[8:], 0)):
        expected = torch.zeros(SIZES, dtype=torch.bool)
        expected[tuple(slice(at - reach, at + reach + 1) for at in middle)] = True
        assert all(torch.equal(channel, expected) for channel in channels)


def test_the_rest_passes_through_as_it_is():
    x = torch.randn(1, 10, 4, 4, 4)
    mixed = MultiReceptiveField(3, 10, 0.4, 0.4, (3, 5), 1, scan=True)(x)
    assert torch.equal(mixed[:, 8:], x[:, 8:])
    assert not torch.isclose(mixed[:, :8], x[:, :8]).all()


@pytest.mark.parametrize("scan", [True, False])
def test_far_voxels_are_seen_through_the_scan(scan):
    torch.manual_seed(0)
    part = WaveletMamba(3, 4, 3, 1, scan=scan).double()
    far_corner = difference(part, 4, (0, 0, 0))[:, -1, -1, -1]
    assert bool((far_corner > 0).any()) is scan


def test_the_scan_is_of_the_low_band_and_details_are_convolved():
    """Without either the part gives nothing but the low band back: the mean of each cube of eight voxels."""
    part = WaveletMamba(3, 2, 3, 1, scan=True)
    bound = 0.1 * 27**-0.5  # a tenth of PyTorch's own
    assert bound / 2 < part.detail.weight.abs().max() <= bound
    part.detail.weight.data.zero_()
    seen = []

    class Spy(nn.Module):
        def forward(self, low):
            seen.append(tuple(low.shape))
            return low

    part.mamba = Spy()
    x = torch.randn(1, 2, 4, 6, 2)
    means = nn.functional.avg_pool3d(x, 2)
    expected = means.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    torch.testing.assert_close(part(x), expected)
    assert seen == [(1, 2, 2, 3, 1)]
    part.detail.weight.data[:, 0, 1, 1, 1] = 1  # of all bands, the low one included
    torch.testing.assert_close(part(x), expected + x)


@pytest.mark.parametrize(("halvings", "expected"), [(2, [1, 2, 4, 8, 16]), (0, [1, 2, 4])])
def test_where_its_stages_stand(halvings, expected):
    network = MobileMamba(2, 1, 2, filters=(16, 20, 24), halvings=halvings)
    seen = []
    for stage in network.stages:
        stage.register_forward_hook(lambda _, __, output: seen.append(64 // output.shape[-1]))
    network(torch.randn(1, 1, 64, 64))
    assert seen == expected
    depths = [
        sum(isinstance(part, MultiReceptiveField) for part in stage.modules()) for stage in network.stages
    ]
    assert depths == [0] * halvings + [1, 2, 2]


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_twin_has_as_many_parameters_and_no_scan(spatial_dims):
    network, twin = (MobileMamba(spatial_dims, 1, 3, scan=scan) for scan in (True, False))
    assert_as_many_parameters(network, twin)
    layers = [module for module in twin.modules() if isinstance(module, MambaLayer)]
    assert len(layers) == 5
    assert not any(layer.scan for layer in layers)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depths": (1, 2)}, r"of one length, got \[3, 2, 3, 3, 3\]"),
        ({"filters": (10, 20, 30)}, r"expected filters\[0\] to be a multiple of 4, got 10"),
        ({"global_ratios": (0.9, 0.9, 0.9)}, "sum up to 1 at most, got 0.9 and 0.2"),
        ({"filters": (8, 8, 8)}, "3 or more for the convolutions"),
    ],
)
def test_what_it_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        MobileMamba(3, 1, 2, **arguments)
