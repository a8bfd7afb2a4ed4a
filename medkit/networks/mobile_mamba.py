"""MobileMamba (He et al., CVPR 2025, arXiv:2411.15941, section 3): few stages of small maps, whose channels are divided
among a scan with wavelets, depthwise convolutions of several sizes, and nothing.

Where we deviate, and why:

- The paper's encoder classifies; a plain decoder makes it a segmenter. Its stages begin at a 16th of the image's size,
  where hardly a voxel of a patch is left; here they begin at a quarter (``halvings``), and the full size has a
  convolution of its own, for the decoder.
- The paper scans the map itself and adds the wavelet's part to it (section 3.2). Here the scan runs on the low band,
  which in a volume is an eighth as long and reaches as far; one inverse transform brings both back.
- The scan is that of :class:`medkit.networks.mamba_layer.MambaLayer`, with its norm and its residual connection.
- The local channels are divided among kernels, as the paper writes; the published code has one kernel for each stage,
  the largest here.
- Instance norms take the place of batch norms, since patches come two at a time. They begin at 1, at the end of a branch
  too, where the published code begins at 0 and no gradient would pass. That code also adds the input of a block to its
  output a second time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from monai.networks.blocks.convolutions import Convolution
from monai.networks.blocks.squeeze_and_excitation import ChannelSELayer
from monai.networks.layers import Conv
from torch import nn

from medkit.networks.encoder_decoder import EncoderDecoder, stage_beginnings
from medkit.networks.instance_norm import NORM
from medkit.networks.mamba_layer import MambaLayer
from medkit.ops.haar import haar_dwt, haar_idwt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["MobileMamba"]

# What the wavelet's convolutions begin with, against PyTorch's own beginning: the published code scales them by this.
_FIRST_DETAIL = 0.1


class MobileMamba(EncoderDecoder):
    """Logits for images of any size.

    Args:
        spatial_dims: axes of space, 2 or 3.
        in_channels: channels of the image.
        out_channels: classes, background included.
        filters: channels of each stage, from the finest on; the size is halved between two.
        depths: blocks of each stage.
        global_ratios: part of the channels of each stage that is scanned.
        local_ratios: part of the channels of each stage that is convolved; the rest passes through as it is.
        kernels: sizes of the convolutions of each stage, odd; its local channels are divided among them.
        halvings: of the image's size before the first stage.
        states: of the recurrence, for each channel.
        scan: whether the blocks scan; if not, they are made wider until the network has as many parameters.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        filters: Sequence[int] = (64, 128, 192),
        depths: Sequence[int] = (1, 2, 2),
        global_ratios: Sequence[float] = (0.8, 0.7, 0.6),
        local_ratios: Sequence[float] = (0.2, 0.2, 0.3),
        kernels: Sequence[Sequence[int]] = ((3, 5, 7), (3, 5), (3,)),
        halvings: int = 2,
        states: int = 1,
        scan: bool = True,
    ) -> None:
        lengths = [len(each) for each in (filters, depths, global_ratios, local_ratios, kernels)]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"expected filters, depths, global_ratios, local_ratios and kernels of one length, got {lengths}"
            )
        stages, widths = stage_beginnings(spatial_dims, in_channels, filters, halvings, _merge)
        for number, channels in enumerate(filters):
            settings = (global_ratios[number], local_ratios[number], kernels[number], states)
            blocks = [
                _block(
                    spatial_dims, channels, MultiReceptiveField(spatial_dims, channels, *settings, scan=scan)
                )
                for _ in range(depths[number])
            ]
            stages[halvings + number] = nn.Sequential(stages[halvings + number], *blocks)
        super().__init__(spatial_dims, stages, widths, [2] * (len(widths) - 1), out_channels)


class MultiReceptiveField(nn.Module):
    """The paper's MRFFI: a part of the channels sees the image, a part its neighbourhood, and a part itself.

    Args:
        spatial_dims: axes of space, 2 or 3.
        channels: of input and output.
        global_ratio: part of them that is scanned.
        local_ratio: part of them that is convolved.
        kernels: odd sizes of the convolutions, among which the local channels are divided.
        states: of the recurrence, for each channel.
        scan: see :class:`MobileMamba`.
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        global_ratio: float,
        local_ratio: float,
        kernels: Sequence[int],
        states: int,
        *,
        scan: bool,
    ) -> None:
        super().__init__()
        far, near = round(global_ratio * channels), round(local_ratio * channels)
        if far < 1 or near < len(kernels) or far + near > channels:
            raise ValueError(
                f"expected ratios that leave 1 of the {channels} channels or more for the scan and {len(kernels)} or "
                f"more for the convolutions, and sum up to 1 at most, got {global_ratio} and {local_ratio}"
            )
        if not kernels or any(size < 1 or size % 2 == 0 for size in kernels):
            raise ValueError(f"expected kernels of odd sizes, one or more, got {tuple(kernels)}")
        shares = [near // len(kernels) + (number < near % len(kernels)) for number in range(len(kernels))]
        self.parts = [far, *shares, channels - far - near]
        self.far = WaveletMamba(spatial_dims, far, max(kernels), states, scan=scan)
        self.near = nn.ModuleList(
            _depthwise(spatial_dims, share, size, act="relu")
            for share, size in zip(shares, kernels, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *sizes)`` to the same."""
        far, *near, same = torch.split(x, self.parts, 1)
        seen = [convolve(part) for convolve, part in zip(self.near, near, strict=True)]
        return torch.cat([self.far(far), *seen, same], 1)


class WaveletMamba(nn.Module):
    """The paper's WTE-Mamba: a scan of the low band of a Haar transform, and a convolution of all bands.

    Args:
        spatial_dims: axes of space, 2 or 3.
        channels: of input and output.
        size: of the convolution of each band, odd.
        states: of the recurrence, for each channel.
        scan: see :class:`MobileMamba`.
    """

    def __init__(self, spatial_dims: int, channels: int, size: int, states: int, *, scan: bool) -> None:
        super().__init__()
        bands = channels * 2**spatial_dims
        self.mamba = MambaLayer(spatial_dims, channels, states, scan=scan)
        self.detail = Conv["conv", spatial_dims](
            bands, bands, size, padding=size // 2, groups=bands, bias=False
        )
        with torch.no_grad():
            self.detail.weight *= _FIRST_DETAIL

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *sizes)`` to the same."""
        channels = x.shape[1]
        bands = haar_dwt(x)
        detail = self.detail(bands)
        low = self.mamba(bands[:, :channels]) + detail[:, :channels]
        return haar_idwt(torch.cat([low, detail[:, channels:]], 1), x.shape[2:])


class _Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = self.layers(x)
        return x + changed


def _block(spatial_dims: int, channels: int, mixer: nn.Module) -> nn.Module:
    """The paper's block: neighbours and channels, the mixer, neighbours and channels again."""
    mixing = _Residual(mixer, nn.ReLU(), _pointwise(spatial_dims, channels, channels))
    return nn.Sequential(_perceive(spatial_dims, channels), mixing, _perceive(spatial_dims, channels))


def _perceive(spatial_dims: int, channels: int) -> nn.Module:
    """A depthwise convolution, and a feed-forward network of twice as many channels inside."""
    return nn.Sequential(
        _Residual(_depthwise(spatial_dims, channels, 3)),
        _Residual(
            _pointwise(spatial_dims, channels, 2 * channels, act="relu"),
            _pointwise(spatial_dims, 2 * channels, channels),
        ),
    )


def _merge(spatial_dims: int, before: int, after: int) -> nn.Module:
    """Between two stages: an inverted bottleneck with squeeze and excitation, which halves the size."""
    inner = 4 * before
    return nn.Sequential(
        _perceive(spatial_dims, before),
        _pointwise(spatial_dims, before, inner, act="relu"),
        _depthwise(spatial_dims, inner, 3, strides=2, act="relu"),
        ChannelSELayer(spatial_dims, inner, r=4),
        _pointwise(spatial_dims, inner, after),
        _perceive(spatial_dims, after),
    )


def _depthwise(
    spatial_dims: int, channels: int, size: int, *, strides: int = 1, act: str | None = None
) -> nn.Module:
    convolution: nn.Module = Convolution(
        spatial_dims,
        channels,
        channels,
        strides=strides,
        kernel_size=size,
        adn_ordering="NA",
        act=act,
        norm=NORM,
        groups=channels,
        bias=False,
    )
    return convolution


def _pointwise(spatial_dims: int, before: int, after: int, *, act: str | None = None) -> nn.Module:
    convolution: nn.Module = Convolution(
        spatial_dims, before, after, kernel_size=1, adn_ordering="NA", act=act, norm=NORM, bias=False
    )
    return convolution
