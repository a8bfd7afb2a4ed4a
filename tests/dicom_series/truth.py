"""What a right reader gives: volumes with a place and a function of millimetres."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = Callable[[NDArray[np.float64]], NDArray[np.float64]]
Answer = tuple["TrueVolume", ...]


@dataclass(frozen=True)
class TrueVolume:
    """One volume that a right reader gives.

    Attributes:
        affine: from indices (column, row, slice) to RAS millimetres, (4, 4).
        shape: columns, rows, slices.
        values: true values at RAS millimetres, (..., 3) to (...).
        tolerance: how far a right value may be from the true one: half a step of quantisation, mostly.
        place: how far, in millimetres, a right voxel may be from its place.
        required: whether a reader may leave the volume out (a localizer that is refused).
        regridded: another grid over the same region is right too, as a repair gives.
        hidden: where the file holds no value (padding), by index; any value is right there, and within one voxel of it
            on another grid.
    """

    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    values: Values
    tolerance: float
    place: float = 0.01
    required: bool = True
    regridded: bool = False
    hidden: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Truth:
    """The answers that are right for a series, or for a folder of series.

    Attributes:
        volumes: the answer; none where a careful person would refuse.
        others: further answers that are right as they come.
        repaired: answers that are right only where a repair was asked for, or the reader says that it made one.
        told: answers that are right only where the reader says that it left something out.
    """

    volumes: Answer
    others: tuple[Answer, ...] = ()
    repaired: tuple[Answer, ...] = ()
    told: tuple[Answer, ...] = ()

    def answers(self, repaired: bool = False, told: bool = False) -> list[Answer]:
        """All right answers, none of them empty."""
        found = [
            self.volumes,
            *self.others,
            *(self.repaired if repaired else ()),
            *(self.told if told else ()),
        ]
        return [answer for answer in found if answer]

    @property
    def readable(self) -> bool:
        """Whether a good reader gives the series as it comes; else a refusal is what is right."""
        return bool(self.volumes)


REFUSAL = Truth(())
