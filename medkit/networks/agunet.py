"""AGUNet: a U-Net with gated skips that sees its input at every scale (Bouget et al., doi:10.3389/fradi.2021.711514).

Also arXiv:2101.07715. Details are those of the first author's code (AttentionGatedUNet.py on GitHub, in
dbouget/ct_mediastinal_structures_segmentation): the pooled image enters every stage between the first and the last, and
a gate concatenates its two inputs where Oktay et al. (arXiv:1804.03999, equation 1), and MONAI's ``AttentionUnet`` with
them, add them.

Where we deviate: instance norm for batch norm, since batches of volumes are small, and none behind a gate's last
convolution, where it would centre the gates of every image on a half; the leaky ReLU of MONAI's blocks in the stages;
strides that are given, where that code stops pooling an axis of four voxels or fewer; coarse logits enlarged to the
image, where it leaves them at their size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from monai.networks.blocks import Convolution
from monai.networks.blocks.dynunet_block import UnetBasicBlock, UnetOutBlock, UnetUpBlock
from monai.networks.layers import Pool
from torch import nn
from torch.nn import functional

from medkit.networks.instance_norm import NORM
from medkit.networks.padded import through_padded
from medkit.networks.strides import between_stages, total

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["AGUNet"]


class AGUNet(nn.Module):
    """Logits for images of any size.

    Args:
        spatial_dims: axes of space, 2 or 3.
        in_channels: channels of the image.
        out_channels: classes, background included.
        filters: channels of each stage, from the finest on.
        strides: from each stage to the next, one for all axes or one for each.
        multi_scale: whether the stages between the first and the last see the image too, averaged to their grid.
        attention_gates: whether the decoder weighs each voxel of a skip before it takes it.
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
        attention_gates: bool = True,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        steps = between_stages(filters, strides, spatial_dims)
        self.multiple = total(steps)
        self.first = UnetBasicBlock(spatial_dims, in_channels, filters[0], 3, 1, NORM)
        self.averages = nn.ModuleList(Average(spatial_dims, step) for step in steps)
        seen = [in_channels * multi_scale] * (len(steps) - 1) + [0]
        self.downs = nn.ModuleList(
            Down(spatial_dims, above, below, step, channels)
            for above, below, step, channels in zip(filters[:-1], filters[1:], steps, seen, strict=True)
        )
        self.context: nn.Module = nn.Identity()
        self.ups = nn.ModuleList(
            Up(spatial_dims, below, above, step, attention_gates)
            for below, above, step in reversed(list(zip(filters[1:], filters[:-1], steps, strict=True)))
        )
        self.head = UnetOutBlock(spatial_dims, filters[0], out_channels)
        self.deep_supervision = deep_supervision
        self.coarse_heads = nn.ModuleList(
            UnetOutBlock(spatial_dims, channels, out_channels)
            for channels in (filters[-2:0:-1] if deep_supervision else ())
        )

    def forward(self, image: Tensor) -> Tensor:
        """``(B, C, *sizes)`` images to ``(B, K, *sizes)`` logits.

        With deep supervision, in training mode: ``(B, L, K, *sizes)``, the logits of each level of the decoder, the
        finest first, the others enlarged to the image. That is the form of MONAI's ``DynUNet``.
        """
        return through_padded(self._decoded, image, self.multiple, self.parameters())

    def _decoded(self, image: Tensor) -> Tensor:
        small, x = image, self.first(image)
        skips: list[Tensor] = []
        for down, average in zip(self.downs, self.averages, strict=True):
            skips.append(x)
            if down.look is not None:
                small = average(small)
            x = down(x, small)
        x = self.context(x)
        levels: list[Tensor] = []
        for up, skip in zip(self.ups, reversed(skips), strict=True):
            x = up(x, skip)
            levels.append(x)
        logits: Tensor = self.head(x)
        if not (self.training and self.deep_supervision):
            return logits
        coarse = [
            functional.interpolate(head(level), x.shape[2:])
            for head, level in zip(self.coarse_heads, levels[:-1], strict=True)
        ]
        return torch.stack([logits, *reversed(coarse)], 1)


class Average(nn.Module):
    """Means over blocks of voxels, in float32 at least: on a CPU, PyTorch has none of half types.

    Args:
        spatial_dims: axes of space, 2 or 3.
        stride: sizes of a block.
    """

    def __init__(self, spatial_dims: int, stride: Sequence[int]) -> None:
        super().__init__()
        self.pool = Pool["avg", spatial_dims](stride)

    def forward(self, image: Tensor) -> Tensor:
        """``(B, C, *sizes)`` to ``(B, C, *sizes / stride)``."""
        averaged: Tensor = self.pool(image.to(torch.promote_types(image.dtype, torch.float32)))
        return averaged.to(image.dtype)


class Down(nn.Module):
    """The next stage of the encoder: the largest of what is above, beside the image, and two convolutions.

    Args:
        spatial_dims: axes of space, 2 or 3.
        above: channels of the stage above.
        below: channels of this stage.
        stride: of each axis.
        seen: channels of the image, 0 where the stage does not see it.
    """

    def __init__(self, spatial_dims: int, above: int, below: int, stride: Sequence[int], seen: int) -> None:
        super().__init__()
        self.pool = Pool["max", spatial_dims](stride)
        self.look = (
            Convolution(spatial_dims, seen, below, kernel_size=3, act="relu", norm=None) if seen else None
        )
        self.block = UnetBasicBlock(spatial_dims, above + (below if seen else 0), below, 3, 1, NORM)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """``(B, above, *sizes)`` and an image ``(B, C, *sizes / stride)`` to ``(B, below, *sizes / stride)``.

        A stage that does not see the image takes no notice of its size.
        """
        x = self.pool(x)
        if self.look is not None:
            x = torch.cat((self.look(image), x), 1)
        made: Tensor = self.block(x)
        return made


class Up(UnetUpBlock):
    """MONAI's block of a decoder, with a gate on the skip.

    Args:
        spatial_dims: axes of space, 2 or 3.
        below: channels of the level below.
        above: channels of this level and of its skip.
        stride: of each axis.
        gated: whether there is a gate.
    """

    def __init__(self, spatial_dims: int, below: int, above: int, stride: Sequence[int], gated: bool) -> None:
        super().__init__(spatial_dims, below, above, 3, 1, stride, NORM)
        self.gate = AttentionGate(spatial_dims, above) if gated else None

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """``(B, below, *sizes / stride)`` and a skip ``(B, above, *sizes)`` to the shape of the skip."""
        x = self.transp_conv(x)
        if self.gate is not None:
            skip = self.gate(x, skip)
        made: Tensor = self.conv_block(torch.cat((x, skip), 1))
        return made


class AttentionGate(nn.Module):
    """A weight from 0 to 1 for each voxel of a skip, from the skip and from what the decoder knows there.

    Args:
        spatial_dims: axes of space, 2 or 3.
        channels: of the skip and of the decoder; half of them inside, of each.
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        inner = max(channels // 2, 1)
        self.from_decoder, self.from_skip = (
            Convolution(spatial_dims, channels, inner, kernel_size=1, act="relu", norm=NORM, bias=False)
            for _ in range(2)
        )
        self.weight = Convolution(spatial_dims, 2 * inner, 1, kernel_size=1, conv_only=True)

    def forward(self, decoder: Tensor, skip: Tensor) -> Tensor:
        """Two ``(B, C, *sizes)`` to the skip, weighted."""
        both = torch.cat((self.from_decoder(decoder), self.from_skip(skip)), 1)
        return skip * torch.sigmoid(self.weight(both))
