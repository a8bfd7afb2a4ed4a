"""Label maps in other people's terms as numbers of sets of classes, and what can be compared with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from monai.transforms import MapTransform

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from monai.config import KeysCollection

    from medkit.data.label_sets import LabelSets

__all__ = ["ComparableLabelsd", "LabelSetsd"]


class LabelSetsd(MapTransform):
    """Values of label maps to numbers of sets; see :class:`medkit.data.label_sets.LabelSets`.

    Args:
        keys: of label maps of any shape, whole numbers; those that an item lacks are passed over.
        label_sets: what the values may be.
    """

    def __init__(self, keys: KeysCollection, label_sets: LabelSets) -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.label_sets = label_sets

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with maps of the type that they had.

        Raises:
            UsageError: a map has a value that the table lacks.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            name = f"label map of {item.get('case', key)}"
            numbers = self.label_sets.numbers(item[key].cpu().numpy(), name)
            item[key] = _with_values(item[key], torch.from_numpy(numbers))
        return item


class ComparableLabelsd(MapTransform):
    """A prediction and its reference as far as they can be compared.

    Args:
        keys: of label maps of classes ``(1, *sizes)``.
        label_sets: of the reference.
        reference_key: of its map, numbers of sets ``(1, *sizes)``.
    """

    def __init__(self, keys: KeysCollection, label_sets: LabelSets, reference_key: str = "truth") -> None:
        super().__init__(keys)
        self.label_sets, self.reference_key = label_sets, reference_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item; see :meth:`medkit.data.label_sets.LabelSets.comparable`."""
        item = dict(data)
        reference = item[self.reference_key]
        numbers = reference.cpu().numpy().round().astype(int)
        for key in self.keys:
            found = self.label_sets.comparable(item[key].cpu().numpy().round(), numbers)
            for name, values in zip((key, self.reference_key), found, strict=True):
                item[name] = _with_values(item[name], torch.from_numpy(values))
        return item


def _with_values(labels: Any, values: torch.Tensor) -> Any:
    """A map with other values, on the grid and the device that it had."""
    changed = labels.clone()
    changed[...] = values.to(labels.device, labels.dtype)
    return changed
