"""The greatest interpolated class: the choice of a kernel. It gives labels, which have no gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from medkit.ops.interpolated_argmax import cpu, reference

if TYPE_CHECKING:
    from torch import Tensor

    from medkit.ops.interpolated_argmax.places import Places

__all__ = ["ScoredPlane", "interpolated_argmax"]


@dataclass(frozen=True)
class ScoredPlane:
    """Scores of a plane and the greatest of them, looked up once for all planes that lie beside it.

    Args:
        scores: ``(K, H, W)``, contiguous.
        labels: ``(H, W)``, see :func:`medkit.ops.interpolated_argmax.reference.greatest`.
    """

    scores: Tensor
    labels: Tensor


def interpolated_argmax(
    one: ScoredPlane, two: ScoredPlane, weight: float, rows: Places, columns: Places
) -> Tensor:
    """The class of the greatest score in a plane between two, interpolated linearly along all three axes.

    The compiled kernel computes only where it can matter. Let the weights of an interpolation be ``w_i >= 0`` and the
    scores at its corners ``p_i``. If class ``c`` is the first of the greatest at every corner, then a class ``a < c``
    has ``p_i[a] < p_i[c]`` and a class ``b > c`` has ``p_i[b] <= p_i[c]`` at each; the sum of ``w_i p_i`` keeps
    both, so ``c`` is the first of its greatest too. Where all corners agree, their class is the answer.

    Args:
        one: a plane of scores.
        two: its neighbour, of the same size and number of classes.
        weight: of the second plane, from 0 to 1.
        rows: samples along H.
        columns: samples along W.

    Returns:
        ``(len(rows), len(columns))``, uint8, or int16 for more than 256 classes; of equals the lower class.
    """
    scores = one.scores
    if (
        scores.device.type == "cpu"
        and scores.dtype == torch.float32
        and len(scores) <= 256
        and cpu.is_available()
    ):
        return cpu.interpolated_argmax((scores, two.scores), (one.labels, two.labels), weight, rows, columns)
    return reference.interpolated_argmax(scores, two.scores, weight, rows, columns)
