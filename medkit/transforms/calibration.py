"""Probabilities that are right as often as they say, where a segmentation is unsure: at the boundaries that it draws."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = ["SoftBoundaries", "at_boundary"]


class SoftBoundaries:
    """Divide the log-probabilities of boundary voxels by a temperature (Guo et al. 2017, https://arxiv.org/abs/1706.04599).

    A segmenter is overconfident where it draws a boundary and nowhere else, so one temperature for all voxels makes the
    many that are certainly background unsure, and the sum of a structure's probabilities too large. (A temperature that
    varies over the image: Ding et al. 2021, https://arxiv.org/abs/2008.05105; here it has two values.)

    It is done on the grid of the labels, after any interpolation: then no softened voxel is mixed with a sharp one,
    and the likeliest class of each voxel stays as it is. Where nothing is interpolated, logits divided by the
    temperature give the same. Classes are worked on one at a time: each is added first, then each can be softened.

    Args:
        labels: ``(*sizes)``, the likeliest classes, 2D or 3D.
        temperature: above 1 to make them less sure.
    """

    def __init__(self, labels: Tensor, temperature: float) -> None:
        self._places = at_boundary(labels).flatten().nonzero()[:, 0]
        self._exponent = 1 / temperature
        self._total = torch.zeros(len(self._places), device=labels.device)

    def add(self, probabilities: Tensor) -> None:
        """Take note of a class, ``(*sizes)`` in float32."""
        self._total += self._powers(probabilities)

    def soften_(self, probabilities: Tensor) -> None:
        """Soften a class in place, once all were added."""
        probabilities.view(-1)[self._places] = self._powers(probabilities) / self._total

    def cpu(self) -> SoftBoundaries:
        """The same in the processor's memory."""
        moved = copy(self)
        moved._places, moved._total = self._places.cpu(), self._total.cpu()
        return moved

    def _powers(self, probabilities: Tensor) -> Tensor:
        return probabilities.view(-1)[self._places].pow_(self._exponent)


def at_boundary(labels: Tensor) -> Tensor:
    """Voxels with another label among their neighbours, diagonal ones included; ``(*sizes)`` to a mask like it.

    >>> at_boundary(torch.tensor([[0, 0, 0, 1], [0, 0, 0, 1]]))
    tensor([[False, False,  True,  True],
            [False, False,  True,  True]])
    """
    return _among_neighbours(labels, torch.maximum) != _among_neighbours(labels, torch.minimum)


def _among_neighbours(labels: Tensor, extreme: Callable[..., Tensor]) -> Tensor:
    """Axis by axis in the labels' own type, which takes less memory than pooling numbers of single precision."""
    for axis, size in enumerate(labels.shape):
        found = labels.clone()
        for to, origin in ((0, 1), (1, 0)):
            part = found.narrow(axis, to, size - 1)
            extreme(part, labels.narrow(axis, origin, size - 1), out=part)
        labels = found
    return labels
