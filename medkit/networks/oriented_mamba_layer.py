"""A Mamba layer that favours no axis (tri-orientated Mamba; Xing et al., arXiv:2401.13560, section 2, equation 3; in
SegMamba-V2, doi:10.1109/TMI.2025.3589797, over three planes).

A raster keeps neighbours along its last axis together and tears the others apart by whole rows and slices, so the
image is scanned again with each axis as the last. Where we deviate: all orders go both ways, so that in none a voxel
hears of one side only; the published code goes back in one order (first version) or in none (second), and two of the
second's three orders end in the same axis. All orders share their weights, as in the second version, so the projections
and the centred convolution, which know no order, are computed once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from medkit.networks.mamba_layer import MambaLayer

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["OrientedMambaLayer"]


class OrientedMambaLayer(MambaLayer):
    """A :class:`MambaLayer` whose scan is the mean over as many orders of the axes as there are, and both ways.

    From one order to the next the axes move on by one place, so that each is once the last.

    Args:
        spatial_dims: axes of space, 2 or 3, and so of orders.
        channels: of input and output.
        states: of the recurrence, for each channel.
        scan: as there.
    """

    def __init__(self, spatial_dims: int, channels: int, states: int, *, scan: bool = True) -> None:
        super().__init__(spatial_dims, channels, states, scan=scan)

    def _both_ways(
        self, inside: Tensor, step: Tensor, rates: Tensor, into: Tensor, out_of: Tensor, gate: Tensor | None
    ) -> Tensor:
        """One scan of all orders, which are lines of one length, as further images of the batch.

        The gate, too, knows no order: it comes behind the mean and need not be turned.
        """
        axes = inside.ndim - 2
        lines = (
            torch.cat([_turned(x, shift).flatten(2) for shift in range(axes)])
            for x in (inside, step, into, out_of)
        )
        u, delta, B, C = lines
        scanned = torch.unflatten(super()._both_ways(u, delta, rates, B, C, None), 0, (axes, -1))
        results = [
            _turned(y.view(_turned(inside, shift).shape), axes - shift) for shift, y in enumerate(scanned)
        ]
        mean = torch.stack(results).mean(0)  # a half type is rounded once, and does not overflow in the sum
        return mean if gate is None else mean * functional.silu(gate)


def _turned(x: Tensor, shift: int) -> Tensor:
    """The axes of space moved forward by ``shift`` places, those in front to the end."""
    axes = range(2, x.ndim)
    return x.permute(0, 1, *axes[shift:], *axes[:shift])
