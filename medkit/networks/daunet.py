"""DAUNet: a U-Net with dual attention at its bottleneck (Bouget et al., doi:10.3389/fradi.2021.711514).

Also arXiv:2101.07715. The attention is that of DANet (Fu et al., arXiv:1809.02983, sections 3.2 and 3.3, equations 1 to
4), between all voxels and between all channels. There are no gates unless they are asked for, as in the published code
(dbouget/mri_brain_tumor_segmentation on GitHub, src/Models/UNet/DualAttentionUNet.py).

Where we deviate: channels are compared by the mean over voxels of their product, where the paper takes the sum, which
grows with the image until every channel attends to itself alone; the share of attention begins above zero, at which the
convolutions that lead to it would learn nothing; one convolution behind each attention, as in DANet, and no dropout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from monai.networks.blocks import Convolution
from monai.networks.layers import Conv
from torch import nn
from torch.nn import functional

from medkit.networks.agunet import AGUNet
from medkit.networks.instance_norm import NORM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["DAUNet"]

# Channels of a query and of a key are this many times fewer than those of the features.
_REDUCTION = 8
_FIRST_SHARE = 0.1


class DAUNet(AGUNet):
    """Logits for images of any size.

    Args:
        spatial_dims: axes of space, 2 or 3.
        in_channels: channels of the image.
        out_channels: classes, background included.
        filters: channels of each stage, from the finest on; a multiple of 8 in the last.
        strides: from each stage to the next, one for all axes or one for each.
        multi_scale: whether the stages between the first and the last see the image too, averaged to their grid.
        attention_gates: whether the decoder weighs each voxel of a skip before it takes it.
        position_attention: whether every voxel of the bottleneck attends to every other.
        channel_attention: whether every channel of the bottleneck attends to every other.
        deep_supervision: whether every level of the decoder has logits of its own in training.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        filters: Sequence[int] = (16, 32, 64, 128, 256),
        strides: Sequence[int | Sequence[int]] = (2, 2, 2, 2),
        multi_scale: bool = True,
        attention_gates: bool = False,
        position_attention: bool = True,
        channel_attention: bool = True,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__(
            spatial_dims,
            in_channels,
            out_channels,
            filters,
            strides,
            multi_scale,
            attention_gates,
            deep_supervision,
        )
        attentions: list[nn.Module] = []
        if position_attention:
            attentions.append(PositionAttention(spatial_dims, filters[-1]))
        if channel_attention:
            attentions.append(ChannelAttention())
        if attentions:
            self.context = AttentionSum(spatial_dims, filters[-1], attentions)


class AttentionSum(nn.Module):
    """Kinds of attention side by side, a convolution behind each, and their sum (DANet, figure 2).

    Args:
        spatial_dims: axes of space, 2 or 3.
        channels: of input and output.
        attentions: from and to ``(B, channels, *sizes)``.
    """

    def __init__(self, spatial_dims: int, channels: int, attentions: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                attention,
                Convolution(
                    spatial_dims, channels, channels, kernel_size=3, act="relu", norm=NORM, bias=False
                ),
            )
            for attention in attentions
        )
        self.join = Convolution(
            spatial_dims, channels, channels, kernel_size=1, act=None, norm=NORM, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *sizes)`` to the same."""
        joined: Tensor = self.join(torch.stack([branch(x) for branch in self.branches]).sum(0))
        return joined


class PositionAttention(nn.Module):
    """Every voxel receives from all others, as much as their features agree (DANet, equations 1 and 2).

    The values are cut into as many heads as make each as wide as a query, and all heads have the same queries and keys:
    the same sum, in the form for which ``scaled_dot_product_attention`` never holds the matrix of all pairs of voxels.

    Args:
        spatial_dims: axes of space, 2 or 3.
        channels: of input and output, a multiple of 8.

    Raises:
        ValueError: another number of channels.
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        if channels % _REDUCTION:
            raise ValueError(
                f"expected a multiple of {_REDUCTION} channels for position attention, got {channels}: "
                "change the last of the filters"
            )
        self.width = channels // _REDUCTION
        self.project = Conv["conv", spatial_dims](channels, 2 * self.width + channels, 1, bias=False)
        self.share = nn.Parameter(torch.tensor(_FIRST_SHARE))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *sizes)`` to the same."""
        heads = self.project(x).flatten(2).unflatten(1, (-1, self.width)).mT.contiguous()
        query, key, value = heads.split([1, 1, _REDUCTION], 1)
        received = functional.scaled_dot_product_attention(
            query.expand_as(value), key.expand_as(value), value, scale=1.0
        )
        return x + self.share * received.mT.reshape(x.shape)


class ChannelAttention(nn.Module):
    """Every channel receives from all others, as much as they agree over the image (DANet, equations 3 and 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(_FIRST_SHARE))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *sizes)`` to the same."""
        channels = x.flatten(2)
        scaled = channels * channels.shape[-1] ** -0.5
        received = torch.softmax(scaled @ scaled.mT, -1) @ channels
        return x + self.share * received.view_as(x)
