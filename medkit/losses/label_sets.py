"""A loss for references that leave open which of several classes a voxel is.

The probability of a set of classes is the sum of theirs. Cross entropy of the set that a voxel is labelled with is the
marginal loss of Shi et al. 2021 (https://doi.org/10.1016/j.media.2021.101979, section 3.2); that a loss must not change
when probability moves inside of a set is the axiom of Fidon et al. 2021 (arXiv:2107.03846, section 2.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medkit.errors import UsageError

__all__ = ["LabelSetLoss"]

_SMOOTHING = 1e-5  # MONAI's


class LabelSetLoss(nn.Module):
    """Dice of sets of classes plus cross entropy, the mean over voxels.

    Dice of a set S counts the voxels of which the reference says whether they are in S: those labelled with a part of S
    are, those labelled with none of S are not, and the others are left out. It is a mean over all sets without the
    background, 0, that some voxel of the batch is labelled with a part of. Where all are, and none has several classes,
    this is ``monai.losses.DiceCELoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)``.

    That one counts classes that no voxel has too. Their Dice is 0 until their probability, summed over all voxels, is
    below its smoothing of 1e-5, and 1 from then on: a window of a few structures teaches little but to be that sure of
    the others, which cross entropy sees to without.

    Args:
        sets: classes of each set, by its number; every class alone among them.

    Raises:
        UsageError: an empty set, or a class that has no set of its own.
    """

    members: Tensor
    inside: Tensor
    known: Tensor
    foreground: Tensor

    def __init__(self, sets: Sequence[Sequence[int]]) -> None:
        super().__init__()
        classes = {value for found in sets for value in found}
        alone = {(value,) for value in range(1 + max(classes, default=0))}
        if len(classes) < 2 or not all(map(len, sets)) or alone - set(map(tuple, sets)):
            raise UsageError(
                f"sets: expected sets of classes, each class from 0 alone among them, got {[*map(list, sets)]}; "
                "take those of medkit.data.label_sets.LabelSets"
            )
        members = torch.zeros(len(sets), max(classes) + 1)
        for number, found in enumerate(sets):
            members[number, list(found)] = 1
        shared = members @ members.T  # [label, set]: classes that both have
        inside = shared == members.sum(1, keepdim=True)
        self.register_buffer("members", members, persistent=False)
        self.register_buffer("inside", inside.float(), persistent=False)
        self.register_buffer("known", (inside | (shared == 0)).float(), persistent=False)
        self.register_buffer("foreground", members[:, 0] == 0, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss.

        Args:
            logits: ``(B, K, *sizes)``.
            labels: ``(B, 1, *sizes)``, numbers of sets.

        Raises:
            ValueError: logits of another number of classes.
        """
        if logits.shape[1] != self.members.shape[1]:
            raise ValueError(f"expected logits of {self.members.shape[1]} classes, got {logits.shape[1]}")
        logits, number = logits.flatten(2).transpose(1, 2), labels.flatten(1).long()  # (B, N, K) and (B, N)
        allowed = self.members[number] > 0
        entropy = logits.logsumexp(-1) - logits.masked_fill(~allowed, -torch.inf).logsumexp(-1)
        return entropy.mean() + self._dice(logits.softmax(-1), number)

    def _dice(self, probabilities: Tensor, number: Tensor) -> Tensor:
        members, inside, known = (
            table[:, self.foreground] for table in (self.members.T, self.inside, self.known)
        )
        mass = probabilities @ members.to(probabilities.dtype)  # (B, N, S), as are the others
        inside, known = inside[number], known[number]
        overlap, sizes = (mass * inside).sum((0, 1)), (mass * known + inside).sum((0, 1))
        lost = 1 - (2 * overlap + _SMOOTHING) / (sizes + _SMOOTHING)
        shown = (inside > 0).any(1).any(0)
        return (lost * shown).sum() / shown.sum().clamp(min=1)
