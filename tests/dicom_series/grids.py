"""Where the pixels of a stack of slices lie."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tests.dicom_series.truth import Values

Vector = NDArray[np.float64]

# DICOM's patient axes are LPS, everything that a reader gives here is RAS.
RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Row direction (along which the column index grows) and column direction, in LPS.
PLANES = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
}


@dataclass(frozen=True)
class Grid:
    """A stack of equal, parallel slices, in LPS millimetres.

    Attributes:
        origin: centre of the first pixel of the first slice.
        row: direction in which the column index grows.
        column: direction in which the row index grows.
        step: from slice to slice; need not be along the normal.
        spacing: between rows, between columns, as PixelSpacing says it.
        shape: columns, rows, slices.
    """

    origin: Vector
    row: Vector
    column: Vector
    step: Vector
    spacing: tuple[float, float]
    shape: tuple[int, int, int]

    @property
    def normal(self) -> Vector:
        return np.cross(self.row, self.column)

    @property
    def thickness(self) -> float:
        """Distance of the slices along the normal."""
        return abs(float(self.normal @ self.step))

    @property
    def positions(self) -> list[Vector]:
        """Centre of the first pixel of each slice."""
        return [self.origin + number * self.step for number in range(self.shape[2])]

    @property
    def affine(self) -> NDArray[np.float64]:
        """From (column, row, slice) to RAS millimetres."""
        lps = np.eye(4)
        lps[:3, :3] = np.c_[self.row * self.spacing[1], self.column * self.spacing[0], self.step]
        lps[:3, 3] = self.origin
        return RAS_FROM_LPS @ lps

    def points(self, position: Vector) -> NDArray[np.float64]:
        """RAS millimetres of the pixels of a slice at a position, (rows, columns, 3)."""
        columns, rows, _ = self.shape
        i, j = np.arange(columns)[None, :, None], np.arange(rows)[:, None, None]
        lps = position + i * self.row * self.spacing[1] + j * self.column * self.spacing[0]
        return lps * np.diag(RAS_FROM_LPS)[:3]

    def part(self, first: int, count: int) -> Grid:
        """Some of the slices."""
        return replace(self, origin=self.origin + first * self.step, shape=(*self.shape[:2], count))


def grid(
    rng: Generator,
    plane: str = "axial",
    *,
    angles: tuple[float, float, float] = (0, 0, 0),
    shape: tuple[int, int, int] = (14, 12, 9),
    shear: tuple[float, float] = (0, 0),
    down: bool = False,
) -> Grid:
    """A grid with odd numbers.

    Args:
        rng: of origin and spacing.
        plane: a name in ``PLANES``.
        angles: turns about the axes x, y and z, in radians.
        shape: columns, rows, slices.
        shear: how far slices move along the row and column directions for each millimetre along the normal.
        down: against the normal.
    """
    turn = rotation(angles)
    row, column = (turn @ np.array(direction, float) for direction in PLANES[plane])
    normal = np.cross(row, column)
    thickness = round(float(rng.uniform(2.0, 3.4)), 2) * (-1 if down else 1)
    step = thickness * normal + abs(thickness) * (shear[0] * row + shear[1] * column)
    spacing = (round(float(rng.uniform(0.6, 0.8)), 3), round(float(rng.uniform(0.81, 0.99)), 3))
    return Grid(rng.uniform(-90, 90, 3).round(3), row, column, step, spacing, shape)


def rotation(angles: tuple[float, float, float]) -> NDArray[np.float64]:
    """Turns about x, then y, then z."""
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        one, two = [other for other in range(3) if other != axis]
        step = np.eye(3)
        step[[one, two], [one, two]] = np.cos(angle)
        step[one, two], step[two, one] = -np.sin(angle), np.sin(angle)
        turn = step @ turn
    return turn


def field(place: Grid, rng: Generator, *, scale: float = 1.0, offset: float = 0.0) -> Values:
    """A function of RAS millimetres that no flip, shift, swap or change of scale leaves as it is.

    Along each axis of the grid it changes by more than two steps a voxel, each by another number, and its curvature is
    not symmetric. Linear interpolation over two slices is wrong by less than one.
    """
    inverse = np.linalg.inv(place.affine)
    slopes = np.array([np.sqrt(31), np.sqrt(197), np.sqrt(3769)]) * rng.uniform(0.95, 1.05, 3) * [1, -1, 1]
    bends = np.array([0.071, 0.053, 0.113]) * rng.uniform(0.95, 1.05, 3)

    def values(points: NDArray[np.float64]) -> NDArray[np.float64]:
        index = points @ inverse[:3, :3].T + inverse[:3, 3]
        i, j, k = np.moveaxis(index, -1, 0)
        bent = index**2 @ bends + 0.031 * i * j - 0.047 * i * k + 0.023 * j * k
        return scale * (index @ slopes + bent) + offset

    return values
