"""What a bundle's postprocessing gives, as whole numbers on a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from medkit.data.grid import SAME_PLACE_VOXELS, Grid, voxels_apart
from medkit.data.label_map import as_label_map
from medkit.data.monai_io import knows_its_place
from medkit.errors import CaseError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medkit.data.volume import Volume

__all__ = ["output_grid", "output_labels"]


def output_labels(pred: Any, volume: Volume) -> NDArray[np.unsignedinteger[Any]]:
    """The output ``(C, I, J, K)`` as a label map ``(I, J, K)`` or, of several channels, masks at the end.

    Raises:
        CaseError: it has another shape, or other than whole numbers.
    """
    array = np.asarray(pred.cpu())
    if array.ndim != 4:
        raise CaseError(
            "output-not-3d",
            f"{volume.name}: expected an output (C, I, J, K) from the bundle, got shape {array.shape}; "
            "its postprocessing is at fault",
        )
    try:
        whole = as_label_map(array)
    except ValueError as error:
        raise CaseError(
            "output-not-labels",
            f"{volume.name}: expected whole numbers as labels from the bundle, got {error}; "
            "let its postprocessing end in AsDiscreted",
        ) from error
    return whole[0] if len(whole) == 1 else np.moveaxis(whole, 0, -1)


def output_grid(pred: Any, volume: Volume) -> tuple[Grid, list[str]]:
    """The grid of the output: the image's own, to the last digit, if the bundle returned to it.

    Returns:
        The grid, and a remark if it is another.

    Raises:
        CaseError: the output has lost its metadata.
    """
    # An equal shape is no proof (axes may be flipped), nor is an affine: MONAI makes up one that was lost.
    if not knows_its_place(pred):
        raise CaseError(
            "output-without-place",
            f"{volume.name}: expected an output that knows its place in the image, got one without metadata; "
            "let all of the bundle's transforms keep it",
        )
    shape = (int(pred.shape[1]), int(pred.shape[2]), int(pred.shape[3]))
    affine = pred.affine.cpu().numpy().astype(np.float64)
    apart = voxels_apart(shape, volume.grid.affine, affine)
    if shape == volume.grid.shape and apart <= SAME_PLACE_VOXELS:
        return volume.grid, []
    known = volume.grid
    grid = Grid(shape, affine, size_known=known.size_known, side_known=known.side_known)
    return grid, ["the bundle does not return to the image's grid; the result lies on its own"]
