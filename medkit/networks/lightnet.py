"""LightNet (Qin et al., "You Only Scan Once", arXiv:2405.21022): linear attention whose recurrence adds, so that one
scan serves any number of axes.

A state that decays by a factor at each step depends on the order of the steps, so an image needs a scan for each order.
Here the state is a mean, ``sum(exp(k) v) / sum(exp(k))``, to whose sums each step adds (section 3; ``exp(k)`` is what
the paper's additive recurrence adds to its decay). Over the whole image the order is nothing: all voxels are added up
once, and each reads the same state with its query. What is lost so, where a voxel lies, comes back by two encodings of
position, MD-TPE in front of the layers and MD-LRPE on queries and keys (section 4).

Where we deviate, and why:

- The paper's network classifies and keeps one size; here stages halve it, and a plain decoder makes it a segmenter.
- MD-TPE looks both ways along an axis, since an image has no before, and is added to its input. Each channel has a
  decay and a weight of its own along each axis.
- Channels take the axes of MD-LRPE in turn, so that any number of them will do, and all heads share the frequencies.
- Positions count the voxels of a stage, not millimetres: a network here knows nothing of spacing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from monai.networks.layers import Conv
from torch import nn
from torch.nn import functional

from medkit.networks.encoder_decoder import EncoderDecoder, halve, stage_beginnings
from medkit.networks.mamba_layer import ChannelNorm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["LightNet"]

# Of rotary encodings (Su et al., arXiv:2104.09864, section 3.2.2), whose frequencies the authors take.
_SLOWEST = 1e-4
# Decays of the Toeplitz encoding begin spread over this range, in 1/voxel, by their logarithm: near and far.
_FIRST_RATES = (0.02, 2.0)


class LightNet(EncoderDecoder):
    """Logits for images of any size.

    Args:
        spatial_dims: axes of space, 2 or 3.
        in_channels: channels of the image.
        out_channels: classes, background included.
        filters: channels of each stage, from the finest on; the size is halved between two.
        depths: layers of each stage.
        heads: of the attention; they divide the channels of every stage.
        expansion: channels inside of a gated linear unit for each one outside.
        halvings: of the image's size before the first stage.
        scan: whether voxels see others through the state and the Toeplitz encoding; if not, the gated linear units are
            made wider until the network has as many parameters.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        filters: Sequence[int] = (64, 128, 192),
        depths: Sequence[int] = (2, 2, 2),
        heads: int = 4,
        expansion: float = 2.0,
        halvings: int = 2,
        scan: bool = True,
    ) -> None:
        if len(filters) != len(depths) or min(depths, default=0) < 1:
            raise ValueError(
                f"expected a depth of 1 or more for each of the {len(filters)} stages, got {tuple(depths)}"
            )
        if heads < 1:
            raise ValueError(f"expected heads of 1 or more, got {heads}")
        if any(channels % heads for channels in filters):
            raise ValueError(f"expected filters that {heads} heads divide, got {tuple(filters)}")
        stages, widths = stage_beginnings(spatial_dims, in_channels, filters, halvings, halve)
        for number, (channels, depth) in enumerate(zip(filters, depths, strict=True), halvings):
            layers = _layers(spatial_dims, channels, depth, heads, expansion, scan=scan)
            stages[number] = nn.Sequential(stages[number], *layers)
        super().__init__(spatial_dims, stages, widths, [2] * (len(widths) - 1), out_channels)


def _layers(
    spatial_dims: int, channels: int, depth: int, heads: int, expansion: float, *, scan: bool
) -> list[nn.Module]:
    """The Toeplitz encoding and the layers of a stage."""
    encoding = ToeplitzEncoding(spatial_dims, channels)
    inner = round(expansion * channels)
    if not scan:
        saved = sum(parameter.numel() for parameter in encoding.parameters()) / depth + 2 * channels**2
        inner += round(saved / (3 * channels))
    layers: list[nn.Module] = [
        nn.Sequential(
            _Residual(channels, AdditiveAttention(spatial_dims, channels, heads, scan=scan)),
            _Residual(channels, _GatedLinearUnit(spatial_dims, channels, inner)),
        )
        for _ in range(depth)
    ]
    return [encoding, *layers] if scan else layers


class AdditiveAttention(nn.Module):
    """Every voxel reads one state, the mean of what all voxels give, weighted by them (section 4).

    Args:
        spatial_dims: axes of space, 2 or 3.
        channels: of input and output.
        heads: that divide the channels.
        scan: whether there is a state. Without it a voxel reads what itself gives.
    """

    frequencies: Tensor

    def __init__(self, spatial_dims: int, channels: int, heads: int, *, scan: bool = True) -> None:
        super().__init__()
        self.heads, self.scan = heads, scan
        width = channels // heads
        pointwise = Conv["conv", spatial_dims]
        self.enter = pointwise(channels, 3 * channels if scan else channels, 1, bias=False)
        self.gate = nn.Sequential(
            pointwise(channels, width, 1, bias=False), pointwise(width, channels, 1, bias=False)
        )
        self.norm = ChannelNorm(channels)
        self.leave = pointwise(channels, channels, 1, bias=False)
        self.register_buffer("frequencies", _frequencies(spatial_dims, width), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *sizes)`` to the same."""
        inside = self.enter(x)
        if self.scan:
            query, key, value = (
                part.flatten(2).unflatten(1, (self.heads, -1)) for part in inside.chunk(3, 1)
            )
            inside = self._read(functional.silu(query), key, value, x.shape[2:]).flatten(1, 2).view_as(x)
        left: Tensor = self.leave(self.norm(inside.to(x.dtype)) * torch.sigmoid(self.gate(x)))
        return left

    def _read(self, query: Tensor, key: Tensor, value: Tensor, sizes: Sequence[int]) -> Tensor:
        with torch.autocast(query.device.type, enabled=False):
            query, key, value = (
                x.to(torch.promote_types(x.dtype, torch.float32)) for x in (query, key, value)
            )
            angles = _angles(sizes, self.frequencies)
            state = _turned(key.softmax(-1), angles) @ value.mT  # of all voxels, whatever their order
            return state.mT @ _turned(query, angles)


class ToeplitzEncoding(nn.Module):
    """MD-TPE: to each voxel are added those of its lines along the axes, less with distance (section 4).

    Args:
        spatial_dims: axes of space, 2 or 3.
        channels: of input and output.
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        low, high = (torch.tensor(rate).log() for rate in _FIRST_RATES)
        spread = torch.linspace(0, 1, channels) * (high - low) + low
        self.log_rates = nn.Parameter(spread.repeat(spatial_dims, 1))
        self.weights = nn.Parameter(torch.ones(spatial_dims, channels))
        for table in (self.log_rates, self.weights):  # of numbers by channel, no weights of a layer
            table._no_weight_decay = True  # type: ignore[attr-defined]
        self.norm = ChannelNorm(channels)
        self.leave = Conv["conv", spatial_dims](channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *sizes)`` to the same."""
        lines = [self._along(axis, x) for axis in range(x.ndim - 2)]
        added: Tensor = self.leave(self.norm(torch.stack(lines).sum(0)))
        return x + added

    def _along(self, axis: int, x: Tensor) -> Tensor:
        """A product with a symmetric Toeplitz matrix for each channel, along an axis of space."""
        size = x.shape[axis + 2]
        steps = torch.arange(size, device=x.device, dtype=self.log_rates.dtype)
        distance = (steps[:, None] - steps).abs()
        rates, weights = (each[axis, :, None, None] for each in (self.log_rates.exp(), self.weights))
        matrix = weights * torch.exp(-rates * distance)
        lines = x.reshape(*x.shape[:2], math.prod(x.shape[2 : axis + 2]), size, -1)
        return torch.einsum("bcpiq,cij->bcpjq", lines, matrix.to(x.dtype)).reshape(x.shape)


class _GatedLinearUnit(nn.Module):
    def __init__(self, spatial_dims: int, channels: int, inner: int) -> None:
        super().__init__()
        pointwise = Conv["conv", spatial_dims]
        self.enter = pointwise(channels, 2 * inner, 1, bias=False)
        self.leave = pointwise(inner, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inside, gate = self.enter(x).chunk(2, 1)
        left: Tensor = self.leave(inside * functional.silu(gate))
        return left


class _Residual(nn.Module):
    def __init__(self, channels: int, layer: nn.Module) -> None:
        super().__init__()
        self.norm, self.layer = ChannelNorm(channels), layer

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = self.layer(self.norm(x))
        return x + changed


def _frequencies(spatial_dims: int, channels: int) -> Tensor:
    """What each channel's angle grows by from voxel to voxel, ``(spatial_dims, channels)``: along one axis only."""
    frequencies = torch.zeros(spatial_dims, channels)
    for axis in range(spatial_dims):
        count = len(range(axis, channels, spatial_dims))
        frequencies[axis, axis::spatial_dims] = _SLOWEST ** (torch.arange(count) / max(count, 1))
    return frequencies


def _angles(sizes: Sequence[int], frequencies: Tensor) -> Tensor:
    """An angle for each channel and voxel, ``(channels, voxels)``."""
    angles = frequencies.new_zeros(frequencies.shape[1], *[1] * len(sizes))
    for axis, size in enumerate(sizes):
        steps = torch.arange(size, device=frequencies.device, dtype=frequencies.dtype)
        line = frequencies[axis, :, None] * steps
        angles = angles + line.view(-1, *(size if other == axis else 1 for other in range(len(sizes))))
    return angles.flatten(1)


def _turned(x: Tensor, angles: Tensor) -> Tensor:
    """MD-LRPE: twice as many channels, whose products with others turned so depend on the distance (section 4)."""
    return torch.cat([x * angles.cos(), x * angles.sin()], -2)
