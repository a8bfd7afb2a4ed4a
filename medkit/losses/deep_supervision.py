"""Deep supervision of networks that stack the logits of all levels of their decoder in one tensor."""

from __future__ import annotations

from monai.losses import DeepSupervisionLoss as ListedLevelsLoss
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

    def forward(self, input: Tensor | tuple[Tensor, ...], target: Tensor) -> Tensor:
        """The loss of ``(B, L, K, *sizes)`` logits, as in training, or of ``(B, K, *sizes)``, as in evaluation.

        Levels one by one, as ``MedNeXt`` gives them, are taken too.

        Args:
            input: logits.
            target: labels ``(B, 1, *sizes)``.
        """
        if isinstance(input, Tensor) and input.ndim == target.ndim + 1:
            input = input.unbind(1)
        total: Tensor = super().forward(input, target)
        return total
