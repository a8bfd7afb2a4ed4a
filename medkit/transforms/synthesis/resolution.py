"""Voxels larger than those of the grid: what a scanner would have seen of each, and how a viewer fills the grid.

A slice is the mean of the head under its profile, at places that lie a spacing apart; the profile may be thinner than
the spacing (a gap between slices) and is never thicker here. Along each axis both are one matrix, from the profile's
integral over each voxel of the fine grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from medkit.errors import UsageError
from medkit.transforms.synthesis.draws import Range, chance, choice, uniform, within
from medkit.transforms.synthesis.draws import probability as checked_probability

if TYPE_CHECKING:
    from torch import Generator, Tensor

__all__ = ["PROFILES", "Axis", "Resolution", "refill_matrix", "slice_matrix", "slice_places"]

PROFILES = ("rectangular", "gaussian")
# The standard deviation of a Gaussian profile, in parts of its thickness: 0.42 makes the thickness the width at half of
# its maximum; 0.75 is what SynthSeg's code blurs with before it samples (Billot et al. 2020,
# https://arxiv.org/abs/2003.01995, and its release of 2023).
_GAUSSIAN = (0.42, 0.75)
_FINE = 1.0  # mm, spacing of the grid


@dataclass(frozen=True)
class Axis:
    """How one axis is acquired.

    Args:
        spacing: mm between slices, at least 1.
        thickness: mm of a slice, at least 1 and at most the spacing.
        profile: one of :data:`PROFILES`.
        spread: standard deviation of a Gaussian profile, in parts of the thickness.
        shift: from the first voxel to the first slice, in parts of the spacing, 0 to 1.
    """

    spacing: float = _FINE
    thickness: float = _FINE
    profile: str = PROFILES[0]
    spread: float = _GAUSSIAN[0]
    shift: float = 0.0

    @property
    def fine(self) -> bool:
        """Whether the axis stays as it is."""
        return self.spacing == self.thickness == _FINE


class Resolution:
    """Draws how each axis is acquired: as fine as the grid, thick slices along one axis, or large voxels.

    Args:
        fine_probability: of an image as fine as the grid.
        thick_probability: of thick slices along one axis, in those that are not; the others have large voxels.
        slice_spacing: mm between thick slices.
        in_slice: mm between the voxels within thick slices.
        voxel: mm between voxels that are as large along all axes.
        thinnest: thickness of a slice, in parts of the spacing, at least; the rest up to the spacing is gap.
    """

    def __init__(
        self,
        fine_probability: float = 0.2,
        thick_probability: float = 0.75,
        slice_spacing: Range = (1.0, 9.0),
        in_slice: Range = (1.0, 1.5),
        voxel: Range = (1.0, 4.0),
        thinnest: float = 0.5,
    ) -> None:
        self.fine_probability = checked_probability("fine_probability", fine_probability)
        self.thick_probability = checked_probability("thick_probability", thick_probability)
        self.slice_spacing = within("slice_spacing", slice_spacing, _FINE)
        self.in_slice = within("in_slice", in_slice, _FINE)
        self.voxel = within("voxel", voxel, _FINE)
        self.thinnest = checked_probability("thinnest", thinnest)

    def draw(self, rng: Generator) -> tuple[Axis, Axis, Axis]:
        """Thick slices are as often sagittal as coronal as axial; the same number of draws whatever comes of it."""
        fine, thick = chance(rng, self.fine_probability), chance(rng, self.thick_probability)
        along, spacing = choice(rng, 3), uniform(rng, self.slice_spacing)
        within_slice, voxel = uniform(rng, self.in_slice), uniform(rng, self.voxel)
        axes = []
        for number in range(3):
            own = voxel if not thick else spacing if number == along else within_slice
            axes.append(self._axis(rng, _FINE if fine else own))
        return axes[0], axes[1], axes[2]

    def _axis(self, rng: Generator, spacing: float) -> Axis:
        thickness = max(_FINE, spacing * uniform(rng, (self.thinnest, 1.0)))
        profile, spread = PROFILES[choice(rng, len(PROFILES))], uniform(rng, _GAUSSIAN)
        shift = uniform(rng, (0.0, 1.0))
        if spacing == _FINE:
            return Axis()
        return Axis(spacing, thickness, profile, spread, shift)


def slice_places(axis: Axis, size: int) -> Tensor:
    """``(m,)``, float64: where on a grid of ``size`` voxels the slices' middles lie, in voxels; at least one."""
    number = math.floor((size - 1) / axis.spacing - axis.shift) + 1
    if number < 1:
        return torch.tensor([(size - 1) / 2], dtype=torch.float64)
    return (torch.arange(number, dtype=torch.float64) + axis.shift) * axis.spacing


def slice_matrix(axis: Axis, size: int) -> Tensor:
    """``(m, size)``, float64: from voxels of 1 mm to slices; each row, a point spread, sums to 1.

    The weight of a voxel is the integral of the profile over it. For a Gaussian profile the width of the voxel itself is
    taken off first, so that a thickness of 1 mm leaves the image as it is, as it does for a rectangular one. What a
    slice would see beyond the grid is left out, and the rest weighs more.

    Raises:
        UsageError: an unknown profile, or a thickness that is below 1 mm or above the spacing.
    """
    _check(axis)
    distance = torch.arange(size, dtype=torch.float64) - slice_places(axis, size)[:, None]
    if axis.profile == "rectangular":
        half = axis.thickness / 2
        weights = (distance + 0.5).clamp(-half, half) - (distance - 0.5).clamp(-half, half)
    else:
        sigma = max(axis.spread * math.sqrt(axis.thickness**2 - _FINE**2), 1e-3)
        ends = torch.erf(torch.stack([distance + 0.5, distance - 0.5]) / (sigma * math.sqrt(2)))
        weights = ends[0] - ends[1]
    return weights / weights.sum(1, keepdim=True)


def refill_matrix(axis: Axis, size: int) -> Tensor:
    """``(size, m)``, float64: from slices to voxels of 1 mm, linear between slices and even beyond the outer ones."""
    places = slice_places(axis, size)
    if len(places) == 1:
        return torch.ones(size, 1, dtype=torch.float64)
    order = (torch.arange(size, dtype=torch.float64) - places[0]) / axis.spacing
    order = order.clamp(0, len(places) - 1)
    return (1 - (order[:, None] - torch.arange(len(places), dtype=torch.float64)).abs()).clamp_min(0)


def _check(axis: Axis) -> None:
    if axis.profile not in PROFILES:
        raise UsageError(f"profile: expected one of {list(PROFILES)}, got {axis.profile!r}; correct it")
    if not _FINE <= axis.thickness <= axis.spacing:
        raise UsageError(
            f"thickness: expected from {_FINE:g} mm to the spacing of {axis.spacing:g} mm, got {axis.thickness:g} mm; "
            "correct it"
        )
