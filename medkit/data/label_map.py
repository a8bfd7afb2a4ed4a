"""What is a label map: whole numbers from 0, held in as few bytes as they take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HIGHEST_LABEL", "as_label_map"]

HIGHEST_LABEL = 2**32 - 1


def as_label_map(array: NDArray[Any], highest: int = 0) -> NDArray[np.unsignedinteger[Any]]:
    """Labels in the smallest unsigned type that holds them; the array itself if it is of that type.

    Args:
        array: whole numbers from 0 to 2^32 - 1, of any type and shape.
        highest: a label that could occur as well, so that the type must hold it.

    Raises:
        ValueError: they are not; the message says what was got instead.
    """
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= HIGHEST_LABEL):  # NaN is neither
        raise ValueError(f"values from {float(low):.4g} to {float(high):.4g}")
    whole = array.astype(np.min_scalar_type(max(int(high), highest)), copy=False)
    if array.dtype.kind == "f" and not np.array_equal(whole, array):
        raise ValueError(f"fractions, such as {float(array[whole != array][0]):.4g}")
    return whole
