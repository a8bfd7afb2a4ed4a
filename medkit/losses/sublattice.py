"""A loss of every so many voxels along each axis, another part of them at each step."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SublatticeLoss"]


class SublatticeLoss(nn.Module):
    """A loss of many classes at a fraction of its time and memory.

    Neighbouring voxels tell a loss nearly the same. Of ``step`` voxels along each axis one is taken, the same for the
    whole image; the next call takes its neighbours, until all have had their turn. The turn is kept with the weights, so
    that a training that was stopped goes on with it. To be called once a step: of two levels of deep supervision, each
    would have every other turn alone.

    Args:
        loss: of ``(B, K, *sizes)`` logits and ``(B, 1, *sizes)`` labels.
        step: along each axis.

    Raises:
        UsageError: a step below 1.
    """

    turn: Tensor

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor], step: int = 2) -> None:
        super().__init__()
        if step < 1:
            raise UsageError(f"step: expected 1 or more, got {step}; correct it")
        self.loss, self.step = loss, step
        self.register_buffer("turn", torch.zeros((), dtype=torch.int64))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of one part of the voxels.

        Args:
            logits: ``(B, K, *sizes)``, each size at least ``step``.
            labels: ``(B, 1, *sizes)``.

        Raises:
            ValueError: logits of several levels, or fewer voxels than steps.
        """
        if logits.ndim != labels.ndim or min(logits.shape[2:]) < self.step:
            raise ValueError(
                f"expected logits (B, K, *sizes), each size {self.step} or more, for labels {tuple(labels.shape)}, got "
                f"{tuple(logits.shape)}; use a network without deep supervision, or a larger patch_size"
            )
        offsets = list(product(range(self.step), repeat=logits.ndim - 2))
        first = offsets[int(self.turn) % len(offsets)]
        self.turn += 1
        part: tuple[Any, ...] = (..., *(slice(start, None, self.step) for start in first))
        return self.loss(logits[part], labels[part])
