"""A label map of an item made an image and the classes to learn, by one of the generators here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from monai.transforms import MapTransform, RandomizableTransform

from medkit.errors import UsageError
from medkit.transforms.synthesis.label_scheme import looked_up

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from torch import Tensor

    from medkit.transforms.synthesis.generator import BatchGenerator

__all__ = ["Synthesised"]

_SEEDS = 2**32


class Synthesised(RandomizableTransform, MapTransform):
    """Put a synthetic image beside a label map, and in the map's place the classes that a network learns.

    Args:
        keys: of the label map ``(1, D, H, W)``, integers, axes to the right, front and up, at 1 mm.
        generator: what makes images.
        classes: the values among the generator's targets, in the order of the network's channels; a list of values is
            one class.
        image_key: of the image ``(V, D', H', W')``, float32, of ``V`` versions; a real scan that the item has there is
            handed to the generator.

    Raises:
        UsageError: not one key, or classes that lack one of the generator's targets or name one twice.
    """

    def __init__(
        self,
        keys: Any,
        generator: BatchGenerator[Any],
        classes: Sequence[int | Sequence[int]],
        image_key: str = "image",
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self)
        if len(self.keys) != 1:
            raise UsageError(f"keys: expected one, of the label map, got {list(self.keys)}; name one")
        self.generator, self.image_key = generator, image_key
        self.table = _class_table(generator.scheme.targets, classes)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with the image and the classes ``(1, D', H', W')``, uint8."""
        item = dict(data)
        (key,) = self.keys
        real = item.get(self.image_key)
        rng = torch.Generator().manual_seed(int(self.R.randint(_SEEDS, dtype="uint64")))
        made = self.generator(item[key][None], rng, None if real is None else real[None])
        item[self.image_key] = made.image[0]
        item[key] = looked_up(self.table.to(made.labels.device), made.labels[0])
        return item


def _class_table(targets: Sequence[int], classes: Sequence[int | Sequence[int]]) -> Tensor:
    groups = [[item] if isinstance(item, int) else list(item) for item in classes]
    if sorted(value for group in groups for value in group) != sorted(targets):
        raise UsageError(
            f"classes: expected each value that the generator's labels are made of once, {sorted(targets)}, got "
            f"{list(classes)}; correct them"
        )
    table = torch.zeros(max(targets) + 1, dtype=torch.uint8)
    for number, group in enumerate(groups):
        table[torch.tensor(group)] = number
    return table
