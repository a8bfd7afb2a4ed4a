"""Mirror an image left for right in a training, and give each structure the label of the other side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from monai.transforms import Flip, MapTransform, RandomizableTransform

from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from monai.config import KeysCollection

__all__ = ["RandLateralFlipd"]

_TO_THE_RIGHT = 0


class RandLateralFlipd(RandomizableTransform, MapTransform):
    """Turn an item round along the axis to the right, or leave it.

    MONAI's ``RandFlipd`` alone would call left structures right.

    Args:
        keys: of images and label maps ``(C, *sizes)``, the first axis to the right or to the left.
        label_keys: those of them that are label maps.
        pairs: label values of the left and the right one of each structure that has sides.
        prob: how often.

    Raises:
        UsageError: a label map that is not among the keys, or a value in two pairs.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_keys: Sequence[str],
        pairs: Sequence[Sequence[int]],
        prob: float = 0.5,
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.label_keys = [label_keys] if isinstance(label_keys, str) else list(label_keys)
        values = [value for pair in pairs for value in pair]
        if any(len(pair) != 2 for pair in pairs) or len(set(values)) != len(values):
            raise UsageError(
                f"pairs: expected two label values each, each value once, got {pairs}; correct them"
            )
        if strange := sorted(set(self.label_keys) - set(map(str, self.keys))):
            raise UsageError(
                f"label_keys: expected some of {list(self.keys)}, got {strange}; name them in keys too"
            )
        self.pairs = [(int(left), int(right)) for left, right in pairs]
        self.flip = Flip(spatial_axis=_TO_THE_RIGHT)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item, or its mirror image."""
        item = dict(data)
        self.randomize(None)
        if self._do_transform:
            for key in self.keys:
                item[key] = self.flip(item[key])
            for key in self.label_keys:
                item[key] = self._swapped(item[key])
        return item

    def _swapped(self, labels: torch.Tensor) -> torch.Tensor:
        swapped = labels.clone()
        for left, right in self.pairs:
            swapped[labels == left], swapped[labels == right] = right, left
        return swapped
