"""Items of two kinds in one data set: each has the transform of its kind.

MONAI has no transform that depends on the item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monai.transforms import Randomizable, Transform
from monai.utils import MAX_SEED

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    import numpy as np

__all__ = ["ByPresenced", "RandByPresenced"]


class ByPresenced(Transform):
    """One transform for items that have a key, and another for those that lack it.

    Args:
        key: what tells the kinds apart, such as ``image`` where some items are label maps alone.
        present: of items that have it.
        absent: of the others.
    """

    def __init__(self, key: Hashable, present: Callable[[Any], Any], absent: Callable[[Any], Any]) -> None:
        self.key, self.present, self.absent = key, present, absent

    def __call__(self, data: Mapping[Hashable, Any]) -> Any:
        """The item, transformed."""
        return (self.present if self.key in data else self.absent)(data)


class RandByPresenced(Randomizable, ByPresenced):
    """The same for random transforms, which it hands its seed.

    It is a class of its own because MONAI's caches take whatever is not random for the same every time.
    """

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandByPresenced:
        """Seed both transforms."""
        super().set_random_state(seed, state)
        for transform in (self.present, self.absent):
            if isinstance(transform, Randomizable):
                transform.set_random_state(seed=int(self.R.randint(MAX_SEED, dtype="uint32")))
        return self

    def randomize(self, data: Any) -> None:
        """Nothing of its own is drawn."""
