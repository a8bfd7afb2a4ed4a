"""U-Mamba (Ma et al., arXiv:2401.04722, section 2): a residual U-Net with Mamba layers, behind its last stage or all.

Where we deviate: a Mamba layer has a residual connection, without which the published code makes every gradient pass
through the scan; and "enc" takes voxels for its sequence everywhere, where the published code takes channels for it at
low resolution, with weights that fit one patch size only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medkit.networks.mamba_layer import MambaLayer
from medkit.networks.residual_unet import ResidualUNet

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["UMamba"]


class UMamba(ResidualUNet):
    """Logits for images of any size.

    Args:
        spatial_dims: axes of space, 2 or 3.
        in_channels: channels of the image.
        out_channels: classes, background included.
        filters: channels of each stage, from the finest on.
        strides: from each stage to the next, one for all axes or one for each.
        variant: ``"bot"`` for a Mamba layer behind the last stage, ``"enc"`` behind every stage of the encoder.
        states: of the recurrence, for each channel.
        scan: whether these layers scan; if not, they are made wider until the network has as many parameters.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        filters: Sequence[int] = (32, 64, 128, 256, 320),
        strides: Sequence[int | Sequence[int]] = (2, 2, 2, 2),
        variant: str = "bot",
        states: int = 16,
        scan: bool = True,
    ) -> None:
        if variant not in ("bot", "enc"):
            raise ValueError(f"expected the variant 'bot' or 'enc', got {variant!r}")
        last = len(filters) - 1
        mixers = [
            MambaLayer(spatial_dims, channels, states, causal=True, scan=scan)
            if variant == "enc" or stage == last
            else None
            for stage, channels in enumerate(filters)
        ]
        super().__init__(spatial_dims, in_channels, out_channels, filters, strides, mixers)
