"""A selective state-space layer for images (Mamba; Gu and Dao, arXiv:2312.00752, section 3.4 and figure 3)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from monai.networks.layers import Conv
from torch import nn
from torch.nn import functional

from medkit.ops.depthwise_conv import causal_conv1d, depthwise_conv
from medkit.ops.raster_scan import bidirectional_scan
from medkit.ops.selective_scan import selective_scan

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MambaLayer"]

# Step sizes begin spread evenly over this range by their logarithm, as in Mamba's own code.
_FIRST_STEPS = (1e-3, 1e-1)


class MambaLayer(nn.Module):
    """Every voxel receives from others along the raster, as much as they and it decide; residual and norm included.

    The paper's layer is for sequences. For images the convolution in front of the scan is centred and has all axes,
    and the scan is the mean of both directions, with shared weights; ``causal`` gives the layer of the paper on the
    flattened image.

    Args:
        spatial_dims: axes of space, 2 or 3.
        channels: of input and output.
        states: of the recurrence, for each channel.
        expansion: channels inside for each one outside.
        causal: whether the convolution and the scan look back only.
        scan: whether there is a scan. Without it the rest stays, made wider until there are as many parameters: what
            a scan is compared with.

    Raises:
        ValueError: fewer than one state.
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        states: int = 16,
        expansion: float = 2.0,
        *,
        causal: bool = False,
        scan: bool = True,
    ) -> None:
        super().__init__()
        if states < 1:
            raise ValueError(f"expected states of 1 or more, got {states}")
        self.causal, self.scan, self.states = causal, scan, states
        self.rank = math.ceil(channels / 16)
        filter_sizes = (4,) if causal else (3,) * spatial_dims
        inner = round(expansion * channels)
        if not scan:
            kept = 3 * channels + math.prod(filter_sizes) + 1
            inner = round(inner * (kept + 2 * self.rank + 3 * states + 2) / kept)
        pointwise = Conv["conv", spatial_dims]
        self.norm = ChannelNorm(channels)
        self.enter = pointwise(channels, 2 * inner, 1, bias=False)
        # Shaped as the weight of a convolution: ``Module.to(memory_format=...)`` refuses four axes in a 3D network.
        self.filters = nn.Parameter(torch.empty(inner, 1, *filter_sizes))
        self.filter_bias = nn.Parameter(torch.zeros(inner))
        nn.init.kaiming_uniform_(self.filters.view(inner, -1), a=math.sqrt(5))
        if scan:
            self.project = pointwise(inner, self.rank + 2 * states, 1, bias=False)
            self.step = pointwise(self.rank, inner, 1, bias=False)
            nn.init.uniform_(self.step.weight, -(self.rank**-0.5), self.rank**-0.5)
            self.step_bias = nn.Parameter(_first_step_bias(inner))
            self.log_rates = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(inner, 1))
            self.log_rates._no_weight_decay = True  # type: ignore[attr-defined]
            self.skip = nn.Parameter(torch.ones(inner))
        self.leave = pointwise(inner, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *sizes)`` to the same."""
        inside, gate = self.enter(self.norm(x)).chunk(2, 1)
        inside = self._filtered(inside)
        mixed = self._scanned(inside, gate) if self.scan else inside * functional.silu(gate)
        left: Tensor = self.leave(mixed)
        return x + left

    def _filtered(self, inside: Tensor) -> Tensor:
        filters = self.filters.squeeze(1)
        if not self.causal:
            return depthwise_conv(inside, filters, self.filter_bias, activation="silu")
        line = causal_conv1d(inside.flatten(2), filters, self.filter_bias, activation="silu")
        return line.view_as(inside)

    def _scanned(self, inside: Tensor, gate: Tensor) -> Tensor:
        step, into, out_of = self.project(inside).split([self.rank, self.states, self.states], 1)
        rates = -_at_least_float32(self.log_rates).exp()
        step = self.step(step)
        if not self.causal:
            return self._both_ways(inside, step, rates, into, out_of, gate)
        line, steps, into, out_of, gates = (x.flatten(2) for x in (inside, step, into, out_of, gate))
        y = selective_scan(
            line, steps, rates, into, out_of, self.skip, gates, self.step_bias, delta_softplus=True
        )
        return y.view_as(inside)

    def _both_ways(
        self, inside: Tensor, step: Tensor, rates: Tensor, into: Tensor, out_of: Tensor, gate: Tensor | None
    ) -> Tensor:
        return bidirectional_scan(
            inside, step, rates, into, out_of, self.skip, gate, self.step_bias, delta_softplus=True
        )


class ChannelNorm(nn.Module):
    """Layer normalisation of each voxel over its channels (Ba et al., arXiv:1607.06450), in float32 at least.

    PyTorch's own wants the channels last; here they come first, as the scan wants them.

    Args:
        channels: of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *sizes)`` to the same."""
        wide = _at_least_float32(x)
        variance, mean = torch.var_mean(wide, 1, correction=0, keepdim=True)
        shape = (-1, *[1] * (x.ndim - 2))
        weight, bias = self.weight.view(shape), self.bias.view(shape)
        return ((wide - mean) * torch.rsqrt(variance + 1e-5) * weight + bias).to(x.dtype)


def _first_step_bias(channels: int) -> Tensor:
    """What softplus makes the first step sizes of."""
    low, high = (math.log(step) for step in _FIRST_STEPS)
    step = torch.exp(torch.rand(channels) * (high - low) + low)
    return step + torch.log(-torch.expm1(-step))


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
