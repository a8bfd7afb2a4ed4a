"""Scores of one label map against a reference on the same grid."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice
from scipy.ndimage import find_objects

from medkit.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Box = tuple[slice, ...]

__all__ = ["AGREEMENT", "DEFINITIONS", "SURFACE_TOLERANCE_MM", "LabelScore", "score_case"]

SURFACE_TOLERANCE_MM = 1.0
# Spacings are norms of affine columns: on an oblique 1 mm grid a neighbour may lie 1.0000001 mm away, and
# without slack a tolerance of one voxel would flip between "all within" and "none within".
_TOLERANCE_SLACK_MM = 1e-3
_HAUSDORFF_PERCENTILE = 95.0

# Which scores say how well two maps agree, and whether a higher one is better.
AGREEMENT: Mapping[str, bool] = {"dice": True, "surface_dice": True, "hd95_mm": False}
DEFINITIONS: Mapping[str, str] = {
    "dice": (
        "2 |P and T| / (|P| + |T|) over voxels, 0 to 1; NaN when both are empty, 0 when one is (Dice 1945)"
    ),
    "surface_dice": (
        "share of the area of both surfaces that lies within the tolerance of the other surface, 0 to 1, "
        "areas by marching cubes; NaN when both are empty, 0 when one is, unknown where the voxel size is (Nikolov "
        "et al. 2021, doi:10.2196/26151)"
    ),
    "hd95_mm": (
        "the larger of the two directed 95th percentiles of the distance from boundary voxels of one to "
        "boundary voxels of the other, millimetres; NaN when both are empty, infinite when one is, unknown where the "
        "voxel size is (Maier-Hein et al. 2024, doi:10.1038/s41592-023-02151-z)"
    ),
    "volume_ml": "voxels of the prediction times the volume of a voxel, millilitres; unknown where that is",
    "truth_volume_ml": "voxels of the reference times the volume of a voxel, millilitres; unknown where that is",
}


@dataclass(frozen=True)
class LabelScore:
    """Scores of one label in one case; :data:`DEFINITIONS` says how each is defined.

    Args:
        label: value in the label maps.
        name: what the label is called.
        dice: overlap, 0 to 1; NaN when the label is in neither map.
        surface_dice: surface agreement within a tolerance, 0 to 1; NaN when the label is in neither map.
        hd95_mm: 95th percentile Hausdorff distance in millimetres; infinite when the label is in one map
            only, NaN when it is in neither.
        volume_ml: volume in the prediction, millilitres.
        truth_volume_ml: volume in the reference, millilitres.

    Where the voxel size is unknown, only the Dice is not NaN.
    """

    label: int
    name: str
    dice: float
    surface_dice: float
    hd95_mm: float
    volume_ml: float
    truth_volume_ml: float

    @property
    def size_known(self) -> bool:
        """Whether the voxel size is, so that lengths and volumes could be measured."""
        return not math.isnan(self.volume_ml)


def score_case(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    spacing: tuple[float, float, float] | None,
    names: Mapping[int, str],
    *,
    voxel_volume_ml: float | None = None,
    surface_tolerance_mm: float = SURFACE_TOLERANCE_MM,
) -> list[LabelScore]:
    """Score each named label of a prediction against a reference.

    With P and T the voxels that carry the label in the prediction and in the reference:

    - Dice is ``2 |P and T| / (|P| + |T|)``.
    - Surface Dice (Nikolov et al. 2021, https://doi.org/10.2196/26151) is the share of the area of both
      surfaces within the tolerance of the other one. Areas are those of marching-cubes surfels between voxel
      centres; surfels within the tolerance plus 0.001 mm count, so that a tolerance of just one voxel does
      not hang on the rounding of an oblique affine.
    - HD95 (Maier-Hein et al. 2024, https://doi.org/10.1038/s41592-023-02151-z) is
      ``max(q95(d(P, T)), q95(d(T, P)))`` over boundary voxels, those with a face neighbour outside.
    - A label in neither map scores NaN throughout; in one map only, Dice 0, surface Dice 0, HD95 infinite.

    All but the volumes stay the same when prediction and truth change places, and all of them do when both
    arrays are flipped, or their axes permuted together with ``spacing``.

    Args:
        prediction: ``(I, J, K)`` integer labels.
        truth: ``(I, J, K)`` integer labels on the same grid.
        spacing: voxel edge lengths along the axes, millimetres; ``None`` where they are unknown. All that is measured
            in millimetres is NaN then, and the Dice is left.
        names: label value to name; only these are scored, and background (0) never is.
        voxel_volume_ml: volume of a voxel; the product of ``spacing`` when left out (wrong under shear).
        surface_tolerance_mm: distance up to which surfaces count as agreeing.

    Returns:
        A score per named label, in ascending order of the label value.

    Raises:
        CaseError: ``grids-differ`` when the shapes differ, ``labels-not-integer`` when an array is not of an
            integer type.
    """
    _check_arrays(prediction, truth)
    if spacing is None:
        voxel_volume_ml = math.nan
    elif voxel_volume_ml is None:
        voxel_volume_ml = math.prod(spacing) / 1000.0
    wanted = sorted(label for label in names if label != 0)
    highest = max(wanted, default=0)
    predicted_boxes, true_boxes = _boxes(prediction, highest), _boxes(truth, highest)
    scores = []
    for label in wanted:
        box = _union(predicted_boxes[label - 1], true_boxes[label - 1])
        masks = (prediction[box] == label, truth[box] == label)
        dice, surface_dice, hd95 = _agreement(*masks, spacing, surface_tolerance_mm)
        volume, truth_volume = (float(np.count_nonzero(mask)) * voxel_volume_ml for mask in masks)
        scores.append(LabelScore(label, names[label], dice, surface_dice, hd95, volume, truth_volume))
    return scores


def _check_arrays(prediction: NDArray[Any], truth: NDArray[Any]) -> None:
    if prediction.shape != truth.shape:
        raise CaseError(
            "grids-differ",
            f"expected prediction and truth on one grid, got shapes {prediction.shape} and {truth.shape}; "
            "resample the prediction onto the grid of the truth (nearest neighbour) first",
        )
    for role, array in (("prediction", prediction), ("truth", truth)):
        if array.dtype.kind not in "biu":
            raise CaseError(
                "labels-not-integer",
                f"expected integer labels in the {role}, got {array.dtype}; cast them first",
            )


def _boxes(labels: NDArray[Any], highest: int) -> list[Box | None]:
    """Bounding box of each label from 1 to ``highest``; ``None`` where it does not occur."""
    if highest == 0:
        return []
    boxes: list[Box | None] = find_objects(labels.astype(np.intp, copy=False), max_label=highest)
    return boxes


def _union(first: Box | None, second: Box | None) -> Box:
    """The smallest box around both; an empty one when neither is given."""
    if first is None or second is None:
        return first or second or (slice(0, 0),) * 3
    pairs = zip(first, second, strict=True)
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in pairs)


def _agreement(
    prediction: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    spacing: tuple[float, float, float] | None,
    tolerance_mm: float,
) -> tuple[float, float, float]:
    """Dice, surface Dice and HD95 in millimetres of two masks cropped to what they cover together."""
    present = bool(prediction.any()), bool(truth.any())
    if not any(present):
        return math.nan, math.nan, math.nan
    if not all(present):
        return (0.0, 0.0, math.inf) if spacing else (0.0, math.nan, math.nan)
    # MONAI adds the margin that erosion and marching cubes need.
    pair = [torch.from_numpy(np.ascontiguousarray(mask))[None, None] for mask in (prediction, truth)]
    if spacing is None:
        return float(compute_dice(*pair)), math.nan, math.nan
    geometry = {"include_background": True, "spacing": tuple(float(edge) for edge in spacing)}
    tolerances = [tolerance_mm + _TOLERANCE_SLACK_MM]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI calls a part of itself that it deprecates
        surface_dice = compute_surface_dice(*pair, tolerances, use_subvoxels=True, **geometry)
        hd95 = compute_hausdorff_distance(*pair, percentile=_HAUSDORFF_PERCENTILE, **geometry)
    return float(compute_dice(*pair)), float(surface_dice), float(hd95)
