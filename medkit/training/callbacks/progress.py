"""Tell how far a training has come, for others to show."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Protocol

from pytorch_lightning import Callback, LightningModule, Trainer

__all__ = ["EpochReport", "Progress", "ProgressListener"]


@dataclass(frozen=True)
class EpochReport:
    """What came of an epoch.

    Args:
        number: of the epoch, from 1.
        epochs: of the whole training.
        loss: mean over the epoch; NaN from a module that does not log it.
        dice: mean over the held-out cases, or ``None`` where the epoch had no validation or the module logs none.
        seconds: that it took, with its validation.
        remaining_s: that those to come will take at the rate of this process so far.
    """

    number: int
    epochs: int
    loss: float
    dice: float | None
    seconds: float
    remaining_s: float


class ProgressListener(Protocol):
    """Who is told; Lightning's own bars count epochs from 0, and write nothing into a file before the end."""

    def step(self, epoch: int, epochs: int, done: int, steps: int) -> None:
        """A step of an epoch is done; ``epoch`` counts from 1."""

    def epoch(self, report: EpochReport) -> None:
        """An epoch is done."""

    def scoring(self, done: int, cases: int) -> None:
        """So many of the held-out cases are scored: 0 at first, then after each."""

    def scores(self, dice: dict[str, float]) -> None:
        """The held-out cases are scored: mean Dice over labels as ``mean``, then of each label by name."""


class Progress(Callback):
    """Tell a listener of each step, each epoch, each held-out case that is scored, and the scores at the end.

    Args:
        listener: see :class:`ProgressListener`.
    """

    def __init__(self, listener: ProgressListener) -> None:
        self._listener = listener
        self._seconds: list[float] = []
        self._dice: float | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._start, self._dice = time.perf_counter(), None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell of a step."""
        steps = int(trainer.num_training_batches)
        self._listener.step(trainer.current_epoch + 1, int(trainer.max_epochs or 0), batch_idx + 1, steps)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the Dice; Lightning keeps it for the epochs without a validation, too."""
        dice = trainer.callback_metrics.get("val_dice")
        self._dice = None if dice is None else float(dice)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell of an epoch."""
        self._seconds.append(time.perf_counter() - self._start)
        number, epochs = trainer.current_epoch + 1, int(trainer.max_epochs or 0)
        rate = sum(self._seconds) / len(self._seconds)
        loss = float(trainer.callback_metrics.get("train_loss", math.nan))
        self._listener.epoch(
            EpochReport(number, epochs, loss, self._dice, self._seconds[-1], rate * (epochs - number))
        )

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell that scoring begins."""
        self._listener.scoring(0, _cases(trainer))

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Tell of a case."""
        self._listener.scoring(batch_idx + 1, _cases(trainer))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell of the scores."""
        found = {name: float(value) for name, value in trainer.callback_metrics.items()}
        names = [name for name in found if name.startswith("test_dice")]
        self._listener.scores({_label(name): found[name] for name in sorted(names)})


def _cases(trainer: Trainer) -> int:
    """Of a test, in which a batch is a case."""
    return int(sum(trainer.num_test_batches))


def _label(metric: str) -> str:
    return metric.removeprefix("test_dice").replace("_", " ").strip() or "mean"
