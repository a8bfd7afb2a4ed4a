"""Smooth random fields: normal coefficients of a cubic B-spline on coarse points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from medkit.transforms.synthesis.separable import spline_matrix

if TYPE_CHECKING:
    from torch import Tensor

    from medkit.transforms.synthesis.sample import Size

__all__ = ["normal_coefficients", "spread_out"]


def normal_coefficients(seed: int, points: Size, channels: int) -> Tensor:
    """``(*points, channels)``, float64, normal with deviation 1, on the CPU: the same for every device."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*points, channels, generator=rng, dtype=torch.float64)


def spread_out(coefficients: Tensor, size: Size, device: torch.device) -> Tensor:
    """``(*points, channels)`` coefficients to the spline at each voxel, ``(*size, channels)``, float32.

    The first axis comes last: then all but a hundredth of the work is one product of matrices, and the channels end up
    side by side. The products are of float64, which no setting rounds: in TF32 places would be off by a tenth of a
    voxel.
    """
    values = coefficients.to(device)
    d, h, w = (
        spline_matrix(points, length).to(device)
        for points, length in zip(coefficients.shape, size, strict=False)
    )
    values = torch.einsum("wk,ijkc->ijwc", w, values)
    values = torch.matmul(h, values.flatten(2))  # (I, H, W * C)
    return (d @ values.flatten(1)).view(*size, coefficients.shape[-1]).to(torch.float32)
