"""One layer on features that stay as they are: how Brain-ID's features are put to a task.

After Liu et al., "Brain-ID: Learning contrast-agnostic anatomical representations for brain imaging" (ECCV 2024,
https://arxiv.org/abs/2311.16914), whose features serve T1 synthesis, segmentation, super-resolution and the estimation
of bias fields by one convolution each. In their released code it is pointwise, and sees the image beside the features
where the answer depends on the contrast, in the last two of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from monai.networks.layers import Conv
from torch import nn

from medkit.errors import UsageError
from medkit.networks.blocks import from_blocks, to_blocks
from medkit.networks.features import feature_network

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["OneLayer"]


class OneLayer(nn.Module):
    """A convolution on the features of a network that does not change.

    On the features of blocks it gives each voxel of a block channels of its own, as the network below makes its logits.

    Args:
        network: with features, see :func:`medkit.networks.features.feature_network`. Its parameters get no gradients,
            and it stays in evaluation mode.
        out_channels: of the output.
        image_channels: of the image, where the layer is to see it beside the features; 0 where it is not.
        kernel_size: of the convolution, in places of the feature map; odd.

    Attributes:
        layer: the convolution, which is all that is learned: its parameters are to be trained, its ``state_dict`` saved.

    Raises:
        UsageError: a network without features, or a kernel of even size.
    """

    def __init__(
        self, network: nn.Module, out_channels: int, image_channels: int = 0, kernel_size: int = 1
    ) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise UsageError(
                f"kernel_size: expected an odd number of 1 or more, which keeps the size of an image, got {kernel_size}"
            )
        self.network = feature_network(network).requires_grad_(False).eval()
        voxels = self.network.block**self.network.spatial_dims
        self.sees_image = image_channels > 0
        self.layer: nn.Module = Conv["conv", self.network.spatial_dims](
            self.network.feature_channels + image_channels * voxels,
            out_channels * voxels,
            kernel_size,
            padding=kernel_size // 2,
        )

    def train(self, mode: bool = True) -> OneLayer:
        """The layer alone knows two modes."""
        super().train(mode)
        self.network.eval()
        return self

    def features(self, image: Tensor) -> Tensor:
        """``(B, C, *sizes)`` images to features ``(B, F, *ceil(sizes / block))``, without gradients.

        They are the same at every step of a training: made once, they can be kept for :meth:`of_features`.
        """
        with torch.no_grad():
            return self.network.features(image)

    def of_features(self, features: Tensor, image: Tensor) -> Tensor:
        """What :meth:`forward` gives, from features that are there.

        Args:
            features: of the image, ``(B, F, *ceil(sizes / block))``.
            image: ``(B, C, *sizes)``; its sizes are what matters, where the layer does not see it.
        """
        block = self.network.block
        seen = torch.cat([features, to_blocks(image, block)], 1) if self.sees_image else features
        return from_blocks(self.layer(seen), block, image.shape[2:])

    def forward(self, image: Tensor) -> Tensor:
        """``(B, C, *sizes)`` images to ``(B, out_channels, *sizes)``."""
        return self.of_features(self.features(image), image)
