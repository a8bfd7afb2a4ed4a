"""Train a segmentation network: loss on patches, Dice on whole cases, scores in the native grid at the end."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data import decollate_batch
from monai.inferers import Inferer
from pytorch_lightning import LightningModule

from medkit.data.monai_io import grid_of_metadata
from medkit.errors import TrainingError, UsageError
from medkit.metrics.segmentation import score_case

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from monai.transforms import Compose
    from numpy.typing import NDArray
    from torch import Tensor, nn

__all__ = ["SegmentationModule"]


class SegmentationModule(LightningModule):
    """Optimise a network for segmentation.

    Args:
        network: ``(B, C, D, H, W)`` images to ``(B, K, D, H, W)`` logits, background first; in training to
            whatever the loss takes.
        loss: of logits and labels ``(B, 1, D, H, W)``.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes a scheduler from the optimizer; stepped once an optimizer step.
        inferer: how the network sees a whole image.
        postprocessing: from network output to a label map on the native grid, as at inference.
        label_names: label value to name, background included.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        optimizer: Callable[..., torch.optim.Optimizer],
        lr_scheduler: Callable[..., torch.optim.lr_scheduler.LRScheduler],
        inferer: Inferer,
        postprocessing: Compose,
        label_names: Mapping[Any, str],
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.make_optimizer, self.make_scheduler = optimizer, lr_scheduler
        self.inferer, self.postprocessing = inferer, postprocessing
        self.label_names = {int(value): name for value, name in label_names.items()}
        self.case_scores: list[dict[str, Any]] = []

    def configure_optimizers(self) -> Any:
        """One optimizer; its schedule advances by the step, so that it ends where the training ends."""
        optimizer = self.make_optimizer(self.network.parameters())
        scheduler = {"scheduler": self.make_scheduler(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of a batch of patches.

        Raises:
            TrainingError: it is not finite.
            UsageError: the labels have a value that the network has no class for.
        """
        logits = self.network(batch["image"]).float()
        try:
            loss = self.loss(logits, batch["label"])
        except Exception as error:
            _check_labels(batch["label"], logits.shape[-4], error)
            raise
        if not loss.isfinite():
            raise self._diverged(f"a finite loss, got {loss.item()}")
        self.log(
            "train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(batch["image"])
        )
        return loss

    def on_train_epoch_end(self) -> None:
        """See to it that no checkpoint is written that a training cannot go on from, and no network of NaN.

        Lightning's own: ``EarlyStopping(check_finite)`` ends as if all were well, and ``SpikeDetection`` knows the loss
        alone.

        Raises:
            TrainingError: weights are not finite.
        """
        if not all(value.isfinite().all() for value in self.network.state_dict().values()):
            raise self._diverged("finite weights, got NaN or infinity")

    def _diverged(self, what: str) -> TrainingError:
        return TrainingError(
            f"training stopped in epoch {self.current_epoch + 1}: expected {what}; begin another run with --set "
            "train::trainer::precision=32-true or a lower learning_rate: --resume would repeat this from the last "
            "epoch that was whole"
        )

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Dice of whole cases on the network's grid, to watch a training by; never used to choose weights."""
        labels = self.inferer(batch["image"], self.network).argmax(1, keepdim=True)
        scores = [_dice(labels == value, batch["label"] == value) for value in self._foreground()]
        self.log("val_dice", torch.stack(scores).mean(), prog_bar=True, batch_size=len(labels))

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, NDArray[np.int32]]:
        """Score held-out cases as inference will see them: full precision, native grid, manual label.

        Returns:
            Label map ``(I, J, K)`` of each case.
        """
        with torch.autocast(self.device.type, enabled=False):
            batch["pred"] = self.inferer(batch["image"], self.network)
            return self._score(batch)

    def _score(self, batch: dict[str, Any]) -> dict[str, NDArray[np.int32]]:
        predictions = {}
        for item in decollate_batch(batch):
            prediction = predictions[item["case"]] = _label_array(self.postprocessing(item)["pred"])
            truth = _label_array(item["truth"])
            grid = grid_of_metadata(item["truth"].meta, truth.shape)
            for score in score_case(
                prediction,
                truth,
                grid.spacing_mm,
                self.label_names,
                voxel_volume_ml=grid.voxel_volume_ml,
            ):
                self.case_scores.append({"case": item["case"], **asdict(score)})
        return predictions

    def on_test_epoch_end(self) -> None:
        """Log the mean Dice of each label and over labels."""
        if not self.case_scores:
            return
        by_label: dict[str, list[float]] = {}
        for row in self.case_scores:
            by_label.setdefault(row["name"], []).append(row["dice"])
        means = {name: float(np.nanmean(values)) for name, values in by_label.items()}
        self.log("test_dice", float(np.mean(list(means.values()))))
        for name, value in means.items():
            self.log(f"test_dice_{name.replace(' ', '_')}", value)

    def _foreground(self) -> list[int]:
        return [value for value in self.label_names if value != 0]


def _check_labels(labels: Tensor, classes: int, error: Exception) -> None:
    """Refuse labels without a class, where a loss failed: what PyTorch says of these helps nobody."""
    if (highest := int(labels.max())) >= classes:
        raise UsageError(
            f"expected label maps with values from 0 to {classes - 1}, the classes of the network, got {highest}; mend "
            "the label maps, or train a bundle of your own that has this class"
        ) from error


def _label_array(labels: Tensor) -> NDArray[np.int32]:
    return labels[0].round().to(torch.int32).cpu().numpy()


def _dice(prediction: Tensor, truth: Tensor) -> Tensor:
    overlap = 2.0 * (prediction & truth).sum()
    size = prediction.sum() + truth.sum()
    return torch.where(size > 0, overlap / size.clamp(min=1), torch.ones_like(overlap))
