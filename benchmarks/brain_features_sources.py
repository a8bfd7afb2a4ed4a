"""What may tell places of a head apart: a bundle's features, those of its network untrained, and intensities alone."""

from __future__ import annotations

import torch
from torch import Tensor

from medkit.bundle.instance import ConfigInstance
from medkit.inference.predictor import LoadedBundle
from medkit.networks.blocks import to_blocks
from medkit.networks.features import FeatureNetwork, feature_network

BUNDLE, UNTRAINED, INTENSITIES = "features of the bundle", "the same network, untrained", "intensities alone"


class Intensities(FeatureNetwork):
    """The voxels of each block, as they are.

    Args:
        like: a network on blocks of the same size.
        image_channels: of the image.
    """

    def __init__(self, like: FeatureNetwork, image_channels: int = 1) -> None:
        voxels = like.block**like.spatial_dims
        super().__init__(like.spatial_dims, image_channels * voxels, like.block)

    def features(self, image: Tensor) -> Tensor:
        """``(B, C, *sizes)`` to ``(B, C * voxels of a block, *ceil(sizes / block))``."""
        return to_blocks(image, self.block)


def sources(bundle: LoadedBundle) -> dict[str, FeatureNetwork]:
    """By name; the untrained network is always the same one."""
    trained = feature_network(bundle.network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = ConfigInstance(bundle.folder, "inference", bundle.overrides).build("network_def")
    untrained = feature_network(fresh).to(bundle.device).eval()
    return {BUNDLE: trained, UNTRAINED: untrained, INTENSITIES: Intensities(trained)}
