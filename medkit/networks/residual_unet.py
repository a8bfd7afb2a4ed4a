"""A U-Net with residual stages and room for layers between them: what the state-space networks here share.

Residual stages as in nnU-Net (Isensee et al., arXiv:2404.09556), from MONAI's blocks; MONAI's own ``DynUNet`` has no
place for further layers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from monai.networks.blocks.dynunet_block import UnetOutBlock, UnetResBlock, UnetUpBlock
from torch import nn

from medkit.networks.padded import crop, pad_to_multiple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["ResidualUNet"]


class ResidualUNet(nn.Module):
    """Logits for images of any size.

    Args:
        spatial_dims: axes of space, 2 or 3.
        in_channels: channels of the image.
        out_channels: classes, background included.
        filters: channels of each stage, from the finest on.
        strides: from each stage to the next, one for all axes or one for each.
        mixers: a layer behind each stage of the encoder, from and to its channels; ``None`` for no layer.
        norm_name: of MONAI.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        filters: Sequence[int],
        strides: Sequence[int | Sequence[int]],
        mixers: Sequence[nn.Module | None],
        norm_name: tuple[str, dict[str, object]] | str = ("instance", {"affine": True}),
    ) -> None:
        super().__init__()
        if not len(filters) == len(strides) + 1 == len(mixers):
            raise ValueError(
                f"expected a stride between every two stages, got {len(filters)} filters and {len(strides)} strides"
            )
        steps = [[stride] * spatial_dims if isinstance(stride, int) else list(stride) for stride in strides]
        self.multiple = tuple(math.prod(axis) for axis in zip(*steps, strict=True))
        self.stages = nn.ModuleList(
            UnetResBlock(spatial_dims, before, after, 3, step, norm_name)
            for before, after, step in zip(
                [in_channels, *filters], filters, [[1] * spatial_dims, *steps], strict=False
            )
        )
        self.mixers = nn.ModuleList(nn.Identity() if mixer is None else mixer for mixer in mixers)
        self.ups = nn.ModuleList(
            UnetUpBlock(spatial_dims, below, above, 3, 1, step, norm_name)
            for below, above, step in reversed(list(zip(filters[1:], filters, steps, strict=False)))
        )
        self.head = UnetOutBlock(spatial_dims, filters[0], out_channels)

    def forward(self, image: Tensor) -> Tensor:
        """``(B, C, *sizes)`` images to ``(B, K, *sizes)`` logits."""
        x = pad_to_multiple(image, self.multiple)
        skips: list[Tensor] = []
        for stage, mixer in zip(self.stages, self.mixers, strict=True):
            x = mixer(stage(x))
            skips.append(x)
        for up, skip in zip(self.ups, reversed(skips[:-1]), strict=True):
            x = up(x, skip)
        return crop(self.head(x), image.shape[2:])
