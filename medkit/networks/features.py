"""The last feature map of a network: what its head, one pointwise convolution, makes logits of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from torch import nn

from medkit.errors import UsageError
from medkit.networks.lateral_logits import LateralLogits

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FeatureNetwork", "feature_network"]


class FeatureNetwork(nn.Module, ABC):
    """A network that gives its last feature map as well as its logits, by the same code.

    Args:
        spatial_dims: axes of space, 2 or 3.
        feature_channels: of the map.
        block: voxels along each axis of the image that share one place of the map.
    """

    def __init__(self, spatial_dims: int, feature_channels: int, block: int = 1) -> None:
        super().__init__()
        self.spatial_dims, self.feature_channels, self.block = spatial_dims, feature_channels, block

    @abstractmethod
    def features(self, image: Tensor) -> Tensor:
        """``(B, C, *sizes)`` images to ``(B, F, *sizes)`` features, of blocks ``(B, F, *ceil(sizes / block))``.

        A place of the map lies in the middle of its block. Blocks begin with the image's first voxel, and the last one
        along an axis may reach over its edge; see :meth:`medkit.data.Grid.of_blocks`.
        """


def feature_network(network: nn.Module, where: str = "network") -> FeatureNetwork:
    """What of a network gives its features: itself, or the network whose evidence ``LateralLogits`` makes logits of.

    They are those of an image itself, also where its logits are a mean with those of its mirror image.

    Args:
        network: of medkit's, that makes its logits from a decoder's last map.
        where: whose it is, for messages.

    Raises:
        UsageError: it gives none.
    """
    source = network.network if isinstance(network, LateralLogits) else network
    if not isinstance(source, FeatureNetwork):
        raise UsageError(
            f"{where}: expected a network that gives its features (medkit's SubvoxelUNet, EncoderDecoder or one made of "
            f"it, such as ScanUNet, or LateralLogits around one), got {type(source).__name__}; choose another network"
        )
    return source
