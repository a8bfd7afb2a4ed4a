"""A U-Net with residual stages and room for a layer behind each: what the state-space networks here share.

Residual stages as in nnU-Net (Isensee et al., arXiv:2404.09556), from MONAI's blocks; MONAI's own ``DynUNet`` has no
place for further layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai.networks.blocks.dynunet_block import UnetResBlock
from torch import nn

from medkit.networks.encoder_decoder import EncoderDecoder
from medkit.networks.instance_norm import NORM
from medkit.networks.strides import between_stages

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ResidualUNet"]


class ResidualUNet(EncoderDecoder):
    """Logits for images of any size.

    Args:
        spatial_dims: axes of space, 2 or 3.
        in_channels: channels of the image.
        out_channels: classes, background included.
        filters: channels of each stage, from the finest on.
        strides: from each stage to the next, one for all axes or one for each.
        mixers: a layer behind each stage of the encoder, from and to its channels; ``None`` for no layer.

    Raises:
        ValueError: see :func:`medkit.networks.strides.between_stages`.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        filters: Sequence[int],
        strides: Sequence[int | Sequence[int]],
        mixers: Sequence[nn.Module | None],
    ) -> None:
        steps = [(1,) * spatial_dims, *between_stages(filters, strides, spatial_dims)]
        before = [in_channels, *filters[:-1]]
        stages = []
        for channels_in, channels, step, mixer in zip(before, filters, steps, mixers, strict=True):
            block = UnetResBlock(spatial_dims, channels_in, channels, 3, step, NORM)
            stages.append(nn.Sequential(block, mixer) if mixer is not None else block)
        super().__init__(spatial_dims, stages, filters, strides, out_channels)
