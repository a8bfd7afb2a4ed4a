"""Keep the label maps of held-out cases, and draw the worst, the median and the best of them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pytorch_lightning import Callback, LightningModule, Trainer

from medkit.data.archives import LABEL_ARRAY
from medkit.data.reading import read_volume
from medkit.data.writing import write_labels
from medkit.figures.overlay import draw_overlay
from medkit.training.tracking import TrackingLogger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Gallery"]


class Gallery(Callback):
    """Write ``predictions/`` and ``figures/`` into the run's folder while held-out cases are scored.

    Args:
        run_dir: folder of the run.
        items: held-out cases, ``{"case", "image", "truth"}``.
        label_names: label value to name.
        arrays: channels of an image that numpy packed; the first is drawn.
    """

    def __init__(
        self,
        run_dir: str,
        items: Sequence[Mapping[str, str]],
        label_names: Mapping[Any, str],
        arrays: Sequence[str] = (),
    ) -> None:
        self.run_dir = Path(run_dir)
        self.items = {item["case"]: item for item in items}
        self.arrays = tuple(arrays)
        self.names = {int(value): name for value, name in label_names.items()}

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the label maps of a batch on the grid of their images."""
        for case, labels in outputs.items():
            image = read_volume(Path(self.items[case]["image"]), self.arrays)
            write_labels(self._prediction(case), labels, image.grid, self.names)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw three cases with the manual label dashed, and log the pictures."""
        dice = defaultdict(list)
        for row in pl_module.case_scores:
            dice[row["case"]].append(row["dice"])
        ranked = sorted(dice, key=lambda case: float(np.nanmean(dice[case])))
        for rank, case in zip(("worst", "median", "best"), (0, len(ranked) // 2, -1), strict=True):
            picture = self.run_dir / "figures" / f"{rank}.png"
            self._draw(ranked[case], rank, float(np.nanmean(dice[ranked[case]])), picture)
            if isinstance(trainer.logger, TrackingLogger):
                trainer.logger.experiment.log_artifact(trainer.logger.run_id, str(picture), "figures")

    def _draw(self, case: str, rank: str, dice: float, picture: Path) -> None:
        item = self.items[case]
        labels = read_volume(self._prediction(case)).array
        truth = read_volume(Path(item["truth"]), (LABEL_ARRAY,)).array
        title = f"{case}: {rank} of the held-out cases, mean Dice {dice:.3f}"
        foreground = {value: name for value, name in self.names.items() if value}
        image = read_volume(Path(item["image"]), self.arrays)
        draw_overlay(image, labels, foreground, picture, title=title, truth=truth)

    def _prediction(self, case: str) -> Path:
        return self.run_dir / "predictions" / f"{case}.nii.gz"
