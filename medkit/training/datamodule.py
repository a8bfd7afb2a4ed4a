"""Serve the data sets of a bundle's `train.json` to Lightning, repeatably."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monai.data import DataLoader
from pytorch_lightning import LightningDataModule

from medkit.data.keyed import EpochSampler, KeyedDataset

if TYPE_CHECKING:
    from monai.data import Dataset
    from monai.transforms import Compose

__all__ = ["KeyedDataModule"]


class KeyedDataModule(LightningDataModule):
    """Training patches by key, held-out cases whole.

    Args:
        train: items with deterministic transforms done.
        augmentation: random transforms, seeded by the key of each draw.
        val: whole cases on the network's grid, for the curve.
        test: whole cases with the label on its native grid, for the scores.
        batch_size: patches in a step.
        samples_per_epoch: patches in an epoch.
        num_workers: loader processes.
        seed: of the run.
    """

    def __init__(
        self,
        train: Dataset,
        augmentation: Compose,
        val: Dataset,
        test: Dataset,
        batch_size: int,
        samples_per_epoch: int,
        num_workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.train, self.augmentation, self.val, self.test = train, augmentation, val, test
        self.batch_size, self.samples_per_epoch = batch_size, samples_per_epoch
        self.num_workers, self.seed = num_workers, seed

    def train_dataloader(self) -> DataLoader:
        """Keyed patches in the order of the epoch that is about to run."""
        sampler = EpochSampler(len(self.train), self.samples_per_epoch, self.seed, self._epoch)
        return DataLoader(
            KeyedDataset(self.train, self.augmentation, self.seed),
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            drop_last=True,
        )

    def val_dataloader(self) -> Any:
        """Held-out cases one by one; none when every case is trained on."""
        return DataLoader(self.val, batch_size=1) if len(self.val) else []

    def test_dataloader(self) -> Any:
        """Held-out cases one by one; none when every case is trained on."""
        return DataLoader(self.test, batch_size=1) if len(self.test) else []

    def _epoch(self) -> int:
        # Lightning starts the iterator before it advances `current_epoch`; this counter is right then.
        assert self.trainer is not None
        return int(self.trainer.fit_loop.epoch_progress.current.processed)
