"""Features: what the head makes logits of, on which places, and which networks have none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medkit.errors import UsageError
from medkit.networks import create, names
from medkit.networks.blocks import from_blocks
from medkit.networks.features import FeatureNetwork, feature_network
from medkit.networks.lateral_logits import LateralLogits
from tests.networks.small_arguments import SMALL

WITH = ("lightnet", "mobile_mamba", "scan_unet", "segmamba", "subvoxel_unet", "umamba")


def small(name: str) -> nn.Module:
    torch.manual_seed(0)
    return create(name, spatial_dims=3, in_channels=1, out_channels=3, **SMALL[name]).eval()


def test_networks_with_features_are_those():
    assert tuple(name for name in names() if isinstance(small(name), FeatureNetwork)) == WITH


@pytest.mark.parametrize("name", WITH)
@pytest.mark.parametrize("sizes", [(8, 8, 8), (9, 6, 5)])
def test_the_head_makes_the_logits_of_them(name, sizes):
    network, image = feature_network(small(name)), torch.randn(2, 1, *sizes)
    with torch.no_grad():
        features, logits = network.features(image), network(image)
        head = network.network.head if network.block > 1 else network.head
        assert features.shape == (
            2,
            network.feature_channels,
            *(-(-size // network.block) for size in sizes),
        )
        torch.testing.assert_close(from_blocks(head(features), network.block, sizes), logits)


def test_features_below_logits_of_two_sides():
    below = small("subvoxel_unet")
    assert feature_network(LateralLogits(below, 3, [[1, 2]])) is below


@pytest.mark.parametrize("name", sorted(set(names()) - {*WITH}))
def test_others_are_refused_by_name(name):
    made = small(name)
    with pytest.raises(
        UsageError, match=f"expected a network that gives its features .* got {type(made).__name__}"
    ):
        feature_network(made)
    with pytest.raises(UsageError, match="expected a network that gives its features"):
        feature_network(LateralLogits(made, 4, [[1, 2]]))
