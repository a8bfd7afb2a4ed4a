"""Train with one set of weights and keep their running average."""

from __future__ import annotations

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import EMAWeightAveraging

__all__ = ["AveragedWeights"]


class AveragedWeights(EMAWeightAveraging):
    """Lightning's exponential moving average, handed over however the training ended.

    Lightning hands it over as training ends. A run that was killed after its last epoch has nothing left to train
    when it is resumed, and would go on with the weights of its last step.
    """

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the module the average; a second time changes nothing."""
        self.on_train_end(trainer, pl_module)
