"""Whether predicted probabilities are as often right as they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import distance_transform_edt

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["BINS", "expected_calibration_error", "near_boundary"]

BINS = 15
_ROUNDING = 1e-5  # of a softmax in single precision


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS) -> float:
    """Mean distance between confidence and accuracy over bins of confidence (Guo et al. 2017, equation 3).

    The confidence is the highest probability; the bins are of equal width over 0 to 1, and weigh as many
    predictions as they hold (https://arxiv.org/abs/1706.04599).

    Args:
        probabilities: ``(N, C)`` of each class, 0 to 1.
        labels: ``(N,)`` true class, 0 to ``C - 1``.
        bins: their number.

    Returns:
        0 for what is perfectly calibrated, up to 1; NaN without predictions.

    Raises:
        ValueError: not as many labels as predictions, probabilities that are none (NaN among them), labels of no class,
            or no bins.

    >>> round(expected_calibration_error([[0.8, 0.2]] * 4, [0, 0, 0, 1]), 4)
    0.05
    """
    p, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if p.ndim != 2 or truth.shape != p.shape[:1]:
        raise ValueError(f"expected probabilities (N, C) and labels (N,), got {p.shape} and {truth.shape}")
    if bins < 1:
        raise ValueError(f"expected one bin or more, got {bins}")
    if not len(p):
        return float("nan")
    if not ((p >= -_ROUNDING) & (p <= 1 + _ROUNDING)).all():
        raise ValueError(f"expected probabilities of 0 to 1, got {p.min()} to {p.max()}")
    if truth.min() < 0 or truth.max() >= p.shape[1]:
        raise ValueError(f"expected labels of 0 to {p.shape[1] - 1}, got {truth.min()} to {truth.max()}")
    confidence, right = p.max(1), p.argmax(1) == truth
    # A confidence on an edge belongs to the bin below, as in the paper: ((m - 1) / M, m / M].
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(place, weights=confidence - right, minlength=bins)
    return float(np.abs(gaps).sum()) / len(p)


def near_boundary(labels: NDArray[np.integer[Any]], within: float) -> NDArray[np.bool_]:
    """Voxels near a place where the label changes, inside and outside: where a segmentation is uncertain at all.

    Args:
        labels: ``(I, J, K)`` label map, or of any number of axes.
        within: how far, in voxels, a voxel's centre may be from that of the nearest voxel with another label.

    Returns:
        Mask like ``labels``; nothing where there is one label only.

    >>> near_boundary(np.array([0, 0, 0, 1, 1, 1]), within=2.0)
    array([False,  True,  True,  True,  True, False])
    """
    near = np.zeros(labels.shape, dtype=bool)
    values = np.unique(labels)
    for value in values if len(values) > 1 else ():
        inside = labels == value
        near |= inside & (distance_transform_edt(inside) <= within)
    return near
