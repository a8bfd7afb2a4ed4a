"""Class probabilities on the grid that an image had in its file, one class at a time and of one mind with its labels."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

import torch

from medkit.transforms.calibration import SoftBoundaries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from medkit.transforms.native_labels import NativeGrid

__all__ = ["NativeProbabilities"]


class NativeProbabilities:
    """What labels were made of; iterating gives ``(I, J, K)`` in float32 for each class, as often as wanted.

    Scores are held on the network's grid alone, and beside them one class and little else on the file's grid. The
    first of the greatest probabilities is that of the label at every voxel. Rounding could have it otherwise where
    classes are equal; there the other one is lowered by as much. What the preprocessing cropped away is the first
    class.

    Args:
        scores: ``(C, *sizes)`` on the network's grid.
        grid: the way back.
        labels: ``(I, J, K)`` that ``grid`` made of these scores.
        softmax: take the softmax of the scores; otherwise they are probabilities already.
        temperature: see :class:`medkit.transforms.calibration.SoftBoundaries`; ``None`` to soften nothing.

    Attributes:
        shape: ``(C, I, J, K)``.
    """

    def __init__(
        self, scores: Tensor, grid: NativeGrid, labels: Tensor, *, softmax: bool, temperature: float | None
    ) -> None:
        self.shape = (len(scores), *labels.shape)
        self._scores, self._grid, self._labels = scores, grid, labels
        self._norm = _norm(scores) if softmax else None
        self._cropped = grid.scores(torch.ones(grid.shape, device=scores.device)) == 0 if grid.crops else None
        self._soft = None if temperature is None else SoftBoundaries(labels, temperature)
        self._of_label = torch.zeros(labels.shape, device=labels.device)
        for number, values in enumerate(self._interpolated()):
            torch.where(labels == number, values, self._of_label, out=self._of_label)
            if self._soft:
                self._soft.add(values)
        if self._soft:
            self._soft.soften_(self._of_label)

    def cpu(self) -> NativeProbabilities:
        """The same in the processor's memory, to be kept while the device goes on to the next image."""
        moved = copy(self)
        moved._scores, moved._labels = self._scores.cpu(), self._labels.cpu()
        moved._of_label = self._of_label.cpu()
        moved._norm = None if self._norm is None else (self._norm[0].cpu(), self._norm[1].cpu())
        moved._cropped = None if self._cropped is None else self._cropped.cpu()
        moved._soft = None if self._soft is None else self._soft.cpu()
        return moved

    def __len__(self) -> int:
        return len(self._scores)

    def __iter__(self) -> Iterator[Tensor]:
        for number, values in enumerate(self._interpolated()):
            if self._soft:
                self._soft.soften_(values)
            below = torch.nextafter(self._of_label, torch.zeros_like(self._of_label))
            yield values.clamp_(max=torch.where(self._labels > number, below, self._of_label))

    def _interpolated(self) -> Iterator[Tensor]:
        """Each class on the file's grid, neither softened nor compared."""
        for number, channel in enumerate(self._scores):
            scores = _single_or_double(channel)
            if self._norm:
                greatest, total = self._norm
                scores = (scores - greatest).exp_().div_(total)
            values = self._grid.scores(scores).float()
            if self._cropped is not None and number == 0:
                values[self._cropped] = 1
            yield values


def _norm(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The greatest score of each voxel, and the sum of the exponentials of what all are beyond it."""
    greatest = _single_or_double(scores.amax(0))
    total = torch.zeros_like(greatest)
    for channel in scores:
        total += (channel - greatest).exp_()
    return greatest, total


def _single_or_double(scores: Tensor) -> Tensor:
    return scores.to(torch.promote_types(scores.dtype, torch.float32))
