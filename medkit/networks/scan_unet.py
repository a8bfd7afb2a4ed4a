"""medkit's own state-space segmenter: a residual U-Net that scans its two deepest stages both ways.

Others scan every stage, and evidence is against it: over six data sets Isensee et al. (arXiv:2404.09556) report a
Dice of 87.07 for U-Mamba without its Mamba layers, 87.05 with one at the bottleneck, and 86.59 with one at every stage,
at twice the memory and time. Scans of the deepest stages are cheap, reach over the whole image, and can be taken out
(``scan=False``) to see what they are worth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medkit.networks.mamba_layer import MambaLayer
from medkit.networks.residual_unet import ResidualUNet

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ScanUNet"]


class ScanUNet(ResidualUNet):
    """Logits for images of any size.

    Args:
        spatial_dims: axes of space, 2 or 3.
        in_channels: channels of the image.
        out_channels: classes, background included.
        filters: channels of each stage, from the finest on.
        strides: from each stage to the next, one for all axes or one for each.
        states: of the recurrence, for each channel.
        scanned: how many of the deepest stages have a Mamba layer.
        scan: whether these scan; if not, they are made wider until the network has as many parameters.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        filters: Sequence[int] = (32, 64, 128, 256),
        strides: Sequence[int | Sequence[int]] = (2, 2, 2),
        states: int = 16,
        scanned: int = 2,
        scan: bool = True,
    ) -> None:
        if not 0 <= scanned <= len(filters):
            raise ValueError(
                f"expected scanned from 0 to the number of stages ({len(filters)}), got {scanned}"
            )
        mixers = [
            MambaLayer(spatial_dims, channels, states, scan=scan) if stage >= len(filters) - scanned else None
            for stage, channels in enumerate(filters)
        ]
        super().__init__(spatial_dims, in_channels, out_channels, filters, strides, mixers)
