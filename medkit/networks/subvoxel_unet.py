"""A residual U-Net that works on blocks of voxels and gives logits for every voxel: large images at little cost.

The image's blocks of 2^3 voxels become channels, and the logits of a block's voxels are channels of one output, as in
the sub-pixel convolution of Shi et al. (https://arxiv.org/abs/1609.05158, section 3); theirs only enlarges, this one
goes both ways. All convolutions then run on an eighth of the voxels, so that a whole head fits in one window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai.networks.utils import pixelshuffle, pixelunshuffle

from medkit.networks.features import FeatureNetwork
from medkit.networks.padded import through_padded
from medkit.networks.residual_unet import ResidualUNet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["SubvoxelUNet"]


class SubvoxelUNet(FeatureNetwork):
    """Logits for images of any size.

    Args:
        spatial_dims: axes of space, 2 or 3.
        in_channels: channels of the image.
        out_channels: classes, background included.
        filters: channels of each stage, from that of the blocks on.
        strides: from each stage to the next, one for all axes or one for each.
        block: voxels along each axis of a block.

    Raises:
        ValueError: a block below 1; see also :func:`medkit.networks.strides.between_stages`.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        filters: Sequence[int] = (32, 64, 128, 192),
        strides: Sequence[int | Sequence[int]] = (2, 2, 2),
        block: int = 2,
    ) -> None:
        if block < 1:
            raise ValueError(f"expected a block of 1 voxel or more along each axis, got {block}")
        voxels = block**spatial_dims
        network = ResidualUNet(
            spatial_dims,
            in_channels * voxels,
            out_channels * voxels,
            filters,
            strides,
            [None] * len(filters),
        )
        super().__init__(spatial_dims, network.feature_channels, block)
        self.network = network
        self.multiple = tuple(block * step for step in self.network.multiple)

    def forward(self, image: Tensor) -> Tensor:
        """``(B, C, *sizes)`` images to ``(B, K, *sizes)`` logits."""
        return through_padded(self._of_blocks, image, self.multiple, self.parameters())

    def features(self, image: Tensor) -> Tensor:
        """``(B, C, *sizes)`` images to ``(B, filters[0], *ceil(sizes / block))``: a place for each block of voxels."""
        (found,) = through_padded(
            lambda padded: (self._features(padded),), image, self.multiple, self.parameters()
        )
        return found

    def _features(self, image: Tensor) -> Tensor:
        return self.network.features(pixelunshuffle(image, self.spatial_dims, self.block))

    def _of_blocks(self, image: Tensor) -> Tensor:
        logits = self.network(pixelunshuffle(image, self.spatial_dims, self.block))
        voxels: Tensor = pixelshuffle(logits, self.spatial_dims, self.block)
        return voxels
