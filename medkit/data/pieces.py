"""The connected pieces of a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["connected_pieces"]


def connected_pieces(mask: NDArray[np.bool_], *, corners: bool) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Number of the piece that each voxel belongs to, from 1, and the voxels of each piece by its number.

    MONAI's functions for this need scikit-image.

    Args:
        mask: of any number of axes.
        corners: voxels that touch by an edge or a corner alone are of one piece too; otherwise by a face only.

    Returns:
        Numbers in the shape of the mask, 0 beyond it; and sizes, of which the first, that of the rest, is set to 0.

    >>> numbers, sizes = connected_pieces(np.array([[1, 1, 0], [0, 0, 1]], bool), corners=False)
    >>> numbers.tolist(), sizes.tolist()
    ([[1, 1, 0], [0, 0, 2]], [0, 2, 1])
    """
    numbers, count = ndimage.label(mask, np.ones((3,) * mask.ndim) if corners else None)
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)
    sizes[0] = 0
    return numbers, sizes
