"""Images in which only a cue tells the class, which is that of every voxel, however far away.

The cue, a disc that is darker or brighter than the ground, lies near one end of a long strip. Covered, it leaves both
classes equally likely; a voxel that the cue does not reach can only guess.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WIDTH, LENGTH = 32, 128
RADIUS = 4
CONTRAST, NOISE = 1.0, 0.1
# From the end of the strip to the middle of the cue: at most, and at least.
_FARTHEST_IN, _MARGIN = 16, RADIUS + 1
# Distances that every image has.
LARGEST_DISTANCE = LENGTH - _FARTHEST_IN - 1
# What tells training images from test images of one seed.
TRAIN, TEST = 0, 1


class Phantom(NamedTuple):
    """An image with what it shows.

    Args:
        image: ``(WIDTH, LENGTH)``, or with its axes changed for each other.
        kind: 0 for a dark cue, 1 for a bright one: the class of all voxels.
        cue: where the cue is, of the shape of the image.
        distance: from the middle of the cue along the long axis, in voxels, of the shape of the image.
    """

    image: NDArray[np.float32]
    kind: int
    cue: NDArray[np.bool_]
    distance: NDArray[np.int64]


def phantom(seed: int, part: int, number: int, *, across: bool = False, swapped: bool = False) -> Phantom:
    """The same image for the same arguments.

    Args:
        seed: of the whole data set.
        part: `TRAIN` or `TEST`.
        number: of the image.
        across: whether the long axis is the first one, and not the last, along which a raster scan runs.
        swapped: the same image with the other cue, and so of the other class.
    """
    draw = np.random.default_rng([seed, part, number, across])
    row = int(draw.integers(_MARGIN, WIDTH - _MARGIN))
    column = int(draw.integers(_MARGIN, _FARTHEST_IN + 1))
    column = column if draw.random() < 0.5 else LENGTH - 1 - column
    kind = int(draw.integers(2)) ^ swapped
    rows, columns = np.mgrid[:WIDTH, :LENGTH]
    cue = (rows - row) ** 2 + (columns - column) ** 2 <= RADIUS**2
    image = NOISE * draw.standard_normal((WIDTH, LENGTH)) + CONTRAST * (2 * kind - 1) * cue
    found = (image.astype(np.float32), cue, np.abs(columns - column))
    image, cue, distance = (np.ascontiguousarray(x.T if across else x) for x in found)
    return Phantom(image, kind, cue, distance)
