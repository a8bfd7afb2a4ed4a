"""Random augmentation that is a function of (seed, epoch, index), so that a resumed run repeats itself.

Lightning saves no random state, and worker processes fork theirs; a sample drawn from a key needs neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import Dataset, Sampler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from monai.transforms import Compose

__all__ = ["EpochSampler", "FixedDraws", "KeyedDataset"]

Key = tuple[int, int]


class EpochSampler(Sampler[Key]):
    """Draw ``(epoch, index)`` keys: shuffled passes over the data set, cut to a fixed length.

    Args:
        size: number of items in the data set.
        samples_per_epoch: keys drawn in one epoch; passes are repeated or cut to that length.
        seed: of the whole run.
        epoch: tells the epoch that is about to run; asked when iteration begins.
    """

    def __init__(self, size: int, samples_per_epoch: int, seed: int, epoch: Callable[[], int]) -> None:
        self.size, self.samples_per_epoch, self.seed, self.epoch = size, samples_per_epoch, seed, epoch

    def __len__(self) -> int:
        return self.samples_per_epoch

    def __iter__(self) -> Iterator[Key]:
        epoch = self.epoch()
        random = np.random.default_rng([self.seed, epoch])
        drawn = 0
        while drawn < self.samples_per_epoch:
            for index in random.permutation(self.size)[: self.samples_per_epoch - drawn]:
                # A case may come twice in an epoch: the number of the draw keeps its augmentations apart.
                yield epoch * self.samples_per_epoch + drawn, int(index)
                drawn += 1


class KeyedDataset(Dataset[Any]):
    """A data set whose random transform is seeded by the key of the item.

    Args:
        dataset: the items, deterministic transforms done (``CacheDataset`` serves).
        transform: the random transforms.
        seed: of the whole run.
    """

    def __init__(self, dataset: Dataset[Any], transform: Compose, seed: int) -> None:
        self.dataset, self.transform, self.seed = dataset, transform, seed

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, key: Key) -> Any:
        draw, index = key
        state = np.random.SeedSequence([self.seed, draw, index]).generate_state(1)[0]
        self.transform.set_random_state(seed=int(state))
        return self.transform(self.dataset[index])


class FixedDraws(Dataset[Any]):
    """The same draws of a random transform every time: what a training on synthetic images is watched by.

    Args:
        dataset: the items.
        transform: the random transforms.
        seed: of the draws.
        draws: of each item.
    """

    def __init__(self, dataset: Dataset[Any], transform: Compose, seed: int, draws: int) -> None:
        self.keyed, self.draws = KeyedDataset(dataset, transform, seed), draws

    def __len__(self) -> int:
        return self.draws * len(self.keyed)

    def __getitem__(self, index: int) -> Any:
        if index >= len(self):
            raise IndexError(index)
        return self.keyed[index, index % len(self.keyed)]
