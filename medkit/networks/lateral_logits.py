"""Logits of structures on either side from evidence for the structure and evidence for the side.

What a putamen looks like is the same on both sides; which side it is on shows elsewhere. A network with a channel for
the left one and another for the right one has to learn the first twice, and cannot tell structures before it can tell
sides. Here ``logit(left X) = evidence(X) + side`` and ``logit(right X) = evidence(X) - side``, with one ``side`` for all
pairs: under a softmax, P(X on the left) = P(X) P(left) among the paired structures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from medkit.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LateralLogits"]


class LateralLogits(nn.Module):
    """A network whose pairs of classes share their evidence.

    Args:
        network: from images to evidence ``(B, K - P + 1, *sizes)`` for K classes of which P are the left and P the
            right ones of pairs: of all classes but the right ones, in their order, and at the end the side, positive to
            the left.
        classes: K, background included.
        pairs: left and right class of each pair.
        mirror_axis: of space, from side to side. In evaluation the evidence is then the mean over an image and its
            mirror image, so that no side is preferred: the mirror image of an image has the mirror image of its logits,
            left and right swapped. It takes twice the time.

    Raises:
        UsageError: a class that is not there, is the background, or is in two places; or an axis that is none.
    """

    terms: Tensor

    def __init__(
        self,
        network: nn.Module,
        classes: int,
        pairs: Sequence[Sequence[int]],
        mirror_axis: int | None = None,
    ) -> None:
        super().__init__()
        paired = [value for pair in pairs for value in pair]
        if (
            not pairs
            or any(len(pair) != 2 for pair in pairs)
            or len(set(paired)) != len(paired)
            or not set(paired) <= set(range(1, classes))
        ):
            raise UsageError(
                f"pairs: expected left and right class of each pair, from 1 to {classes - 1} and each at most once, got "
                f"{[list(pair) for pair in pairs]}; correct them"
            )
        if mirror_axis not in (None, 0, 1, 2):
            raise UsageError(
                f"mirror_axis: expected an axis of space, 0, 1 or 2, or none, got {mirror_axis!r}; correct it"
            )
        left_of = {right: left for left, right in pairs}
        own = [value for value in range(classes) if value not in left_of]
        lefts = set(left_of.values())
        self.network, self.evidence, self.mirror_axis = network, len(own) + 1, mirror_axis
        terms = torch.zeros(classes, self.evidence)
        for value in range(classes):
            terms[value, own.index(left_of.get(value, value))] = 1
            terms[value, -1] = (value in lefts) - (value in left_of)
        self.register_buffer("terms", terms, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """``(B, C, *sizes)`` images to ``(B, K, *sizes)`` logits.

        Raises:
            ValueError: the network has another number of channels, or the image no such axis to mirror.
        """
        if self.mirror_axis is not None and self.mirror_axis + 2 >= image.ndim:
            raise ValueError(
                f"expected an image with an axis {self.mirror_axis} of space to mirror, got {tuple(image.shape)}; set "
                "another mirror_axis"
            )
        evidence = self.network(image)
        if self.mirror_axis is not None and not self.training:
            mirrored = self.network(image.flip(2 + self.mirror_axis)).flip(2 + self.mirror_axis)
            # In the mirror image, what lies to the left lies to the right.
            evidence = (evidence + torch.cat([mirrored[:, :-1], -mirrored[:, -1:]], 1)) / 2
        if evidence.shape[1] != self.evidence:
            raise ValueError(
                f"expected {self.evidence} channels of evidence, of {self.evidence - 1} structures whichever their side "
                f"and of the side, got {evidence.shape[1]}; set out_channels of the network below"
            )
        # Rounded once, as each logit has two terms at most; selecting and adding channels takes several times as long.
        return torch.einsum("ke,be...->bk...", self.terms.to(evidence.dtype), evidence)
