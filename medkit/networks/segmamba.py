"""SegMamba (Xing et al., arXiv:2401.13560, section 2), with what its second version changed (SegMamba-V2,
doi:10.1109/TMI.2025.3589797): Mamba at the two deepest stages only, with weights that all orders share.

A stage has a gated spatial convolution and then Mamba layers that scan along every axis, each with a perceptron
behind it (equation 1). Where we deviate:

* The convolution is gated by a product, as the paper's equation 2 has it; the published code adds
  (https://github.com/ge-xing/SegMamba/issues/54). One stands in each stage, as in that code.
* Slices are those of the image at hand; the first version's code has their number written down for 128 voxels a
  side. What else its scan does otherwise stands in :mod:`medkit.networks.oriented_mamba_layer`.
* It stands in the residual U-Net that all state-space networks here share, so that their layers are what is compared:
  the residual block of a stage comes before these and makes the image smaller, where the paper has a plain
  convolution do so and the residual block on the skip connection. The finest stage has that block only, as there.
* Feature-level uncertainty estimation is left out: it learns nothing, only scales the skip connections voxel by
  voxel, and the published code lacks it too (same issue). So are the second version's convolutions of wider reach.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from monai.networks.blocks import Convolution
from monai.networks.layers import Conv
from torch import nn

from medkit.networks.instance_norm import NORM
from medkit.networks.mamba_layer import ChannelNorm
from medkit.networks.oriented_mamba_layer import OrientedMambaLayer
from medkit.networks.residual_unet import ResidualUNet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["SegMamba"]


class SegMamba(ResidualUNet):
    """Logits for images of any size.

    Args:
        spatial_dims: axes of space, 2 or 3.
        in_channels: channels of the image.
        out_channels: classes, background included.
        filters: channels of each stage, from the finest on.
        strides: from each stage to the next, one for all axes or one for each.
        states: of the recurrence, for each channel.
        scanned: how many of the deepest stages have Mamba layers; those above have the gated convolution alone, and the
            finest neither.
        depth: Mamba layers of such a stage.
        scan: whether these scan; if not, they are made wider until the network has as many parameters.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        filters: Sequence[int] = (32, 64, 128, 256, 320),
        strides: Sequence[int | Sequence[int]] = (2, 2, 2, 2),
        states: int = 16,
        scanned: int = 2,
        depth: int = 2,
        scan: bool = True,
    ) -> None:
        below = len(filters) - 1
        if not 0 <= scanned <= below:
            raise ValueError(
                f"expected scanned from 0 to the number of stages below the finest ({below}), got {scanned}"
            )
        mixers: list[nn.Module | None] = [None]
        for stage, channels in enumerate(filters[1:], 1):
            layers: list[nn.Module] = [GatedConv(spatial_dims, channels)]
            for _ in range(depth if stage > below - scanned else 0):
                layers.append(OrientedMambaLayer(spatial_dims, channels, states, scan=scan))
                layers.append(Perceptron(spatial_dims, channels))
            mixers.append(nn.Sequential(*layers))
        super().__init__(spatial_dims, in_channels, out_channels, filters, strides, mixers)


class GatedConv(nn.Module):
    """A convolution of which each voxel lets through, in each channel, as much as it decides itself (equation 2).

    Args:
        spatial_dims: axes of space, 2 or 3.
        channels: of input and output.
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        block = partial(Convolution, spatial_dims, channels, channels, norm=NORM, bias=False)
        self.value = block(kernel_size=3, act="leakyrelu")
        self.gate = block(kernel_size=1, act="sigmoid")
        self.fuse = block(kernel_size=3, act="leakyrelu")

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *sizes)`` to the same."""
        fused: Tensor = self.fuse(self.value(x) * self.gate(x))
        return x + fused


class Perceptron(nn.Module):
    """Two layers at every voxel for itself, twice as wide between; residual and norm included (equation 1).

    MONAI's ``MLPBlock`` wants the channels last.

    Args:
        spatial_dims: axes of space, 2 or 3.
        channels: of input and output.
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        pointwise = Conv["conv", spatial_dims]
        self.layers = nn.Sequential(
            ChannelNorm(channels),
            pointwise(channels, 2 * channels, 1),
            nn.GELU(),
            pointwise(2 * channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *sizes)`` to the same."""
        left: Tensor = self.layers(x)
        return x + left
