"""SegMamba: which stages scan, a gate that is one, and a twin without scans."""

from __future__ import annotations

import pytest
import torch

from medkit.networks.mamba_layer import MambaLayer
from medkit.networks.oriented_mamba_layer import OrientedMambaLayer
from medkit.networks.segmamba import GatedConv, SegMamba
from tests.networks.twins import assert_as_many_parameters, far_change


def found(network: SegMamba, cls: type[torch.nn.Module]) -> list[int]:
    """How many layers of a class stand in each stage."""
    return [sum(isinstance(module, cls) for module in stage.modules()) for stage in network.stages]


@pytest.mark.parametrize(
    ("scanned", "depth", "expected"), [(0, 2, [0, 0, 0]), (1, 2, [0, 0, 2]), (2, 1, [0, 1, 1])]
)
def test_the_deepest_stages_scan(scanned, depth, expected):
    network = SegMamba(3, 1, 2, filters=(4, 8, 8), strides=(2, 2), scanned=scanned, depth=depth)
    assert found(network, OrientedMambaLayer) == found(network, MambaLayer) == expected
    assert found(network, GatedConv) == [0, 1, 1]


def test_two_stages_scan_unless_told_otherwise():
    assert found(SegMamba(3, 1, 2), OrientedMambaLayer) == [0, 0, 0, 2, 2]


def test_a_shut_gate_lets_nothing_through():
    """A sum in its place would."""
    torch.manual_seed(0)
    made, x = GatedConv(3, 4), torch.randn(2, 4, 5, 4, 3)
    with torch.no_grad():
        assert not torch.allclose(made(x), x, atol=0.1)
        made.gate.adn.N.bias.fill_(-200)
        assert torch.equal(made(x), x)


def test_an_open_gate_changes_nothing():
    torch.manual_seed(0)
    made, x = GatedConv(2, 4), torch.randn(2, 4, 5, 3)
    with torch.no_grad():
        made.gate.adn.N.bias.fill_(200)
        torch.testing.assert_close(made(x), x + made.fuse(made.value(x)))


def test_each_voxel_has_its_own_gate():
    torch.manual_seed(0)
    gate = GatedConv(3, 4).gate(torch.randn(1, 4, 5, 4, 3))
    assert gate.shape == (1, 4, 5, 4, 3)
    assert gate.min() > 0
    assert gate.max() < 1
    assert gate.std((2, 3, 4)).min() > 0.1


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_twin_has_as_many_parameters_and_no_scan(spatial_dims):
    network, twin = (SegMamba(spatial_dims, 1, 3, scan=scan) for scan in (True, False))
    assert_as_many_parameters(network, twin)
    layers = [module for module in twin.modules() if isinstance(module, MambaLayer)]
    assert len(layers) == 4
    assert not any(layer.scan for layer in layers)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_far_side_is_seen_through_the_scan_only(axis):
    small = {"filters": (4, 8), "strides": (2,), "depth": 1}
    assert far_change(SegMamba, axis, **small, scanned=1) > 0
    assert far_change(SegMamba, axis, **small, scanned=1, scan=False) == 0
    assert far_change(SegMamba, axis, **small, scanned=0) == 0


@pytest.mark.parametrize("scanned", [-1, 2])
def test_more_scanned_stages_than_there_are(scanned):
    with pytest.raises(
        ValueError, match=rf"from 0 to the number of stages below the finest \(1\), got {scanned}"
    ):
        SegMamba(3, 1, 2, filters=(4, 8), strides=(2,), scanned=scanned)
