"""Log how many patches a second a training gets through."""

from __future__ import annotations

import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

__all__ = ["Throughput"]


class Throughput(Callback):
    """Log ``samples_per_second`` and ``epoch_seconds`` at the end of each training epoch."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._start, self._samples = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the patches of a step."""
        self._samples += len(batch["image"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the rate."""
        seconds = time.perf_counter() - self._start
        pl_module.log("samples_per_second", self._samples / seconds)
        pl_module.log("epoch_seconds", seconds)
