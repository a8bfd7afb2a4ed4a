"""Deep supervision of networks that stack the logits of all levels of their decoder in one tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai.losses import DeepSupervisionLoss as ListedLevelsLoss

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DeepSupervisionLoss"]


class DeepSupervisionLoss(ListedLevelsLoss):
    """MONAI's, which wants a list of levels where ``DynUNet``, AGUNet and DAUNet stack them.

    A sum over the levels, the finest first, with the weights 1, 1/2, 1/4 and so on (Lee et al.,
    arXiv:1409.5185). Logits of one level have the loss that is wrapped, as it is.

    Args:
        loss: of ``(B, K, *sizes)`` logits and ``(B, 1, *sizes)`` labels.
        weight_mode: see MONAI's.
        weights: see MONAI's.
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of ``(B, L, K, *sizes)`` logits, as in training, or of ``(B, K, *sizes)``, as in evaluation.

        Args:
            input: logits.
            target: labels ``(B, 1, *sizes)``.
        """
        levels = input.unbind(1) if input.ndim == target.ndim + 1 else input
        total: Tensor = super().forward(levels, target)
        return total
