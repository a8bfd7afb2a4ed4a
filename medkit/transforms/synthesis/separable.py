"""Linear operations along one axis at a time, as matrices: blurring, sampling, and splines through coarse points.

A dense product with a matrix of 160 rows and columns is faster on both devices than the convolution or interpolation
that it stands for, takes weights that change along the axis, and gives the same bits each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["along", "gaussian_matrix", "spline_matrix"]

_REACH = 4.0  # standard deviations, beyond which a Gaussian's weights are nothing


def along(volume: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """``(D, H, W)`` with ``(m, n)`` applied to the axis of ``n`` elements, which then has ``m``."""
    if axis == 0:
        return (matrix @ volume.flatten(1)).view(-1, *volume.shape[1:])
    return matrix @ volume if axis == 1 else volume @ matrix.T


def gaussian_matrix(size: int, sigma: float) -> Tensor:
    """``(size, size)``, float64, on the CPU: blurs with a standard deviation in voxels; each row sums to 1.

    What would come from beyond the ends is left out, and the rest weighs more.
    """
    place = torch.arange(size, dtype=torch.float64)
    distance = (place[:, None] - place) / max(sigma, 1e-6)
    weights = torch.exp(-0.5 * distance**2).where(distance.abs() <= _REACH, 0.0)
    return weights / weights.sum(1, keepdim=True)


def spline_matrix(points: int, size: int) -> Tensor:
    """``(size, points)``, float64, on the CPU: a uniform cubic B-spline at each voxel, from its coefficients.

    Coefficient ``j`` sits at voxel ``(j - 1) * (size - 1) / (points - 3)``: one lies beyond either end. Each row sums to
    1, and coefficients that are linear in their places give a line.

    Args:
        points: at least 4.
        size: at least 2.
    """
    place = torch.linspace(0, points - 3, size, dtype=torch.float64)
    distance = (place[:, None] - (torch.arange(points, dtype=torch.float64) - 1)).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance) ** 3 / 6
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
