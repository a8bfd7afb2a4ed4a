"""Deep supervision of networks that stack the logits of all levels of their decoder in one tensor."""

from __future__ import annotations

from monai.losses import DeepSupervisionLoss as ListedLevelsLoss
from torch import Tensor

__all__ = ["DeepSupervisionLoss"]


class DeepSupervisionLoss(ListedLevelsLoss):
    """MONAI's class of the same name, for levels in a stack too: it takes a list, and a stack for logits of one level.

    ``DynUNet``, AGUNet and DAUNet stack them. In place of MONAI's, the name in a config is all that changes: arguments,
    weights and sum are its own. The sum goes over the levels, the finest first (Lee et al., arXiv:1409.5185), by default
    with the weights 1, 1/2, 1/4, 1/8, 1/16, and 1/16 for every further one. Logits of one level have the loss that is
    wrapped, as it is.

    Args:
        loss: of ``(B, K, *sizes)`` logits and ``(B, 1, *sizes)`` labels.
        weight_mode: ``"exp"`` for those weights, ``"two"`` for 1 and then 1/2 for all, ``"same"`` for 1 for all.
        weights: one for each level, in place of a mode; where there are more levels than these, the mode counts.
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
