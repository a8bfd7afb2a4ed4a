"""How sure a prediction is: voxel by voxel, and for each structure.

The measures of a structure are those of Roy, Conjeti, Navab and Wachinger, "Bayesian QuickNAT: Model uncertainty in
deep whole-brain segmentation for structure-wise quality control", NeuroImage 195:11-22 (2019),
doi:10.1016/j.neuroimage.2019.03.042, in its section on structure-wise uncertainty: coefficient of variation of the
volume, mean Dice over all pairs of samples, and mean entropy. Their samples come from dropout; ours are mirrored
copies and networks, which are fewer and not drawn at random, so that the numbers order cases and prove nothing.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from medkit.inference.members import Activation

__all__ = ["Agreement", "Confidence", "StructureUncertainty", "Uncertainty", "voxel_entropy"]

_STEPS = 1024  # entropy is kept in this many steps: noise in the last digits would not compress
_HALF = 0.5
_BITS = np.array([value.bit_count() for value in range(256)], dtype=np.uint8)


@dataclass(frozen=True)
class StructureUncertainty:
    """How sure one structure is; ``None`` is what cannot be known.

    Args:
        mean_entropy: over the voxels of the structure, 0 to 1; none where it has no voxel.
        expected_ml: sum of its probabilities, in millilitres; far from the counted volume where much is doubtful.
        volume_cv: standard deviation of the members' volumes over their mean, as estimated from a sample (divided by
            one less than their number); none for one member.
        pairwise_dice: mean Dice over all pairs of members, of which at least one has the structure.
    """

    mean_entropy: float | None
    expected_ml: float | None
    volume_cv: float | None = None
    pairwise_dice: float | None = None


@dataclass(frozen=True)
class Uncertainty:
    """What is kept of the probabilities when they are not.

    Args:
        entropy: ``(I, J, K)`` in float32 on the grid of the labels, or ``(I, J, K, C)`` for overlapping masks; from
            0 (sure) to 1 (as good as a guess).
        structures: by name.
    """

    entropy: NDArray[np.float32] = field(repr=False)
    structures: dict[str, StructureUncertainty]


def voxel_entropy(probabilities: Iterable[Tensor], activation: Activation) -> Tensor:
    """Entropy of the class probabilities of each voxel, as a share of the highest possible.

    Args:
        probabilities: of each class, ``(I, J, K)``, from 0 to 1 but for rounding; passed over once.
        activation: of classes that exclude each other the entropy is that over all, divided by ``log C``; of masks
            that overlap, that of each mask and its absence, divided by ``log 2``.

    Returns:
        ``(1, I, J, K)`` for a softmax, ``(C, I, J, K)`` for a sigmoid, float32, 0 to 1.
    """
    if activation == "sigmoid":
        both = [_plogp(channel).add_(_plogp(1 - channel.float())) for channel in probabilities]
        return torch.stack(both).div_(-math.log(2)).clamp_(0, 1)
    channels = iter(probabilities)
    sum_of_all, count = _plogp(next(channels)), 1
    for channel in channels:
        sum_of_all.add_(_plogp(channel))
        count += 1
    return sum_of_all.div_(-math.log(max(count, 2))).clamp_(0, 1)[None]


def _plogp(probability: Tensor) -> Tensor:
    return torch.xlogy(p := probability.float().clamp(0, 1), p)


class Confidence:
    """Entropy and expected size, taken off the probabilities that the labels are made of.

    Args:
        probabilities: of each class, ``(I, J, K)`` on the grid of the labels; passed over once.
        activation: see :func:`voxel_entropy`.
    """

    def __init__(self, probabilities: Iterable[Tensor], activation: Activation) -> None:
        self.activation = activation
        self.expected_voxels: list[float] = []
        entropy = voxel_entropy(self._counted(probabilities), activation).mul_(_STEPS).round_().div_(_STEPS)
        self.entropy: NDArray[np.float32] = entropy.cpu().numpy()

    def _counted(self, probabilities: Iterable[Tensor]) -> Iterator[Tensor]:
        for channel in probabilities:
            self.expected_voxels.append(float(channel.sum(dtype=torch.float64)))
            yield channel

    def judge(
        self,
        labels: NDArray[np.unsignedinteger[Any]],
        names: Mapping[int, str],
        voxel_ml: float | None,
        agreement: Agreement | None,
    ) -> Uncertainty:
        """Put a number on each structure.

        Args:
            labels: ``(I, J, K)`` values, or ``(I, J, K, C)`` masks.
            names: value or channel to name.
            voxel_ml: volume of a voxel; ``None`` where nobody knows.
            agreement: of the members, where there are several.
        """
        structures = {}
        for value, name in names.items():
            channel = self._channel(value, labels.ndim)
            mask = labels[..., value] > 0 if labels.ndim == 4 else labels == value
            spread = agreement.spread(channel) if agreement and channel is not None else (None, None)
            structures[name] = StructureUncertainty(
                self._mean_entropy(channel, mask),
                None if channel is None or voxel_ml is None else self.expected_voxels[channel] * voxel_ml,
                *spread,
            )
        last = np.moveaxis(self.entropy, 0, -1) if labels.ndim == 4 else self.entropy.max(axis=0)
        return Uncertainty(last, structures)

    def _channel(self, value: int, ndim: int) -> int | None:
        """The channel that a value was made of; none where the bundle folds masks into values of its own."""
        count = len(self.expected_voxels)
        if ndim == 4 or self.activation == "softmax":
            return value if value < count else None
        return 0 if count == 1 and value == 1 else None

    def _mean_entropy(self, channel: int | None, mask: NDArray[np.bool_]) -> float | None:
        if channel is None or not mask.any():
            return None
        return float(
            self.entropy[channel if self.activation == "sigmoid" else 0][mask].mean(dtype=np.float64)
        )


class Agreement:
    """The members' own masks, an eighth of a byte a voxel, member and class, on the network's grid.

    Args:
        activation: a member's mask is where a class is the likeliest, or more likely than not.
    """

    def __init__(self, activation: Activation) -> None:
        self.activation = activation
        self._masks: list[list[list[NDArray[np.uint8]]]] = []  # of a member, of a class, of a block

    def begin_member(self) -> None:
        """What is added from now on is of the next member."""
        self._masks.append([])

    def add(self, probabilities: Tensor) -> None:
        """A block ``(1, C, ...)`` of the probabilities; the same blocks in the same order for every member."""
        member, classes = self._masks[-1], probabilities[0]
        likeliest = classes.argmax(0) if self.activation == "softmax" else None
        for number, channel in enumerate(classes):
            mask = channel > _HALF if likeliest is None else likeliest == number
            if number == len(member):
                member.append([])
            member[number].append(np.packbits(mask.cpu().numpy()))

    def spread(self, channel: int) -> tuple[float | None, float | None]:
        """Coefficient of variation of the volume, and mean Dice over pairs, of one class; of one member neither."""
        masks = [np.concatenate(member[channel]) for member in self._masks]
        sizes = np.array([_count(mask) for mask in masks], dtype=np.float64)
        if len(sizes) < 2 or not sizes.any():
            return None, None
        pairs = [pair for pair in itertools.combinations(range(len(masks)), 2) if sizes[list(pair)].any()]
        dice = [2 * _count(masks[a] & masks[b]) / (sizes[a] + sizes[b]) for a, b in pairs]
        return float(sizes.std(ddof=1) / sizes.mean()), float(np.mean(dice))


def _count(packed: NDArray[np.uint8]) -> int:
    return int(_BITS[packed].sum(dtype=np.int64))
