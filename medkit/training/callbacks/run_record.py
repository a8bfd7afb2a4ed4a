"""Leave a machine-readable record of a training run, its weights, its scores and its bundle."""

from __future__ import annotations

import json
import math
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from medkit.data.datalist import data_hashes, file_key
from medkit.data.tables import csv_text
from medkit.data.writing import replacing, write_text
from medkit.errors import UsageError
from medkit.training.earlier import earlier_trainings
from medkit.training.exported import export_bundle
from medkit.training.run import SETTINGS_FILE, is_run, open_run
from medkit.training.tracking import TrackingLogger, register_bundle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["RunRecord"]

_PACKAGES = ("medkit-imaging", "monai", "torch", "pytorch-lightning", "mlflow", "numpy")


class RunRecord(Callback):
    """Write ``model.pt``, ``scores.csv``, ``bundle/`` and ``record.json`` into the run's folder.

    ``record.json`` is written last: a run without one is not finished. There is a ``bundle/`` where ``medkit train``
    began the run, and so kept what was changed in the config: under plain MONAI nobody can tell what inference has to
    share.

    Args:
        run_dir: folder of the run.
        bundle_root: folder of the bundle that is trained; a run of ``medkit train`` has a copy of its own.
        bundle_name: name of the bundle, and of the model registered in MLflow.
        train_items: cases trained on, ``{"case", "image", "label"}``.
        test_items: cases held out.
        fold: held-out fold, or ``None``.
        settings: what a reader wants to know of the run (seed, epochs, learning rate and so on).
    """

    def __init__(
        self,
        run_dir: str,
        bundle_root: str,
        bundle_name: str,
        train_items: Sequence[Mapping[str, str]],
        test_items: Sequence[Mapping[str, str]],
        fold: int | None,
        settings: Mapping[str, Any],
    ) -> None:
        self.run_dir, self.bundle_name = Path(run_dir), bundle_name
        run = self.run_dir.parent.resolve()
        self._exports = is_run(run) and Path(bundle_root).resolve().is_relative_to(run)
        # Those that are drawn from more often than others are listed as often.
        self.train_items = [dict(item) for item in dict.fromkeys(tuple(item.items()) for item in train_items)]
        self.test_items = list(test_items)
        self.fold, self.settings = fold, dict(settings)
        self._seconds = 0.0
        self._start: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """Training time so far, so that a resumed run counts all of it."""
        return {"seconds": self._elapsed()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the training time of the run that was interrupted."""
        self._seconds = state_dict["seconds"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the settings and the data's hashes before the first step."""
        self._start = time.perf_counter()
        self.hashes = data_hashes([*self.train_items, *self.test_items])
        self._keep("data.json", self.hashes, "data")
        self._keep(SETTINGS_FILE, self.settings, "settings")
        if isinstance(trainer.logger, TrackingLogger):
            parameters = sum(p.numel() for p in pl_module.parameters())
            trainer.logger.log_hyperparams({**self.settings, "fold": self.fold, "parameters": parameters})
            trainer.logger.experiment.log_artifact(trainer.logger.run_id, str(self.run_dir / "data.json"))

    def _keep(self, name: str, content: Mapping[str, Any], subject: str) -> None:
        """Write what the run began with, or check that it goes on with the same."""
        path = self.run_dir / name
        if not path.is_file():
            write_text(path, json.dumps(content, indent=1) + "\n")
            return
        before, now = json.loads(path.read_text(encoding="utf-8")), json.loads(json.dumps(content))
        if changed := sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key)):
            raise UsageError(
                f"{path}: expected the {subject} that this run began with, got others ({len(changed)} differ, "
                f"{changed[0]} for one); put them back, or begin a run of another name"
            )

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the weights, and the record where no case is held out to be scored first."""
        self._seconds, self._start = self._elapsed(), None
        state = pl_module.network.state_dict()
        weights = {name: value.detach().cpu().contiguous() for name, value in state.items()}
        # Into an open file: PyTorch writes a name into the archive, and equal weights would make unequal files.
        with replacing(self.run_dir / "model.pt") as temporary, temporary.open("wb") as file:
            torch.save(weights, file)
        if not self.test_items:
            self._finish(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the scores of the held-out cases, and the record."""
        rows = pl_module.case_scores
        table = csv_text(rows[0], (row.values() for row in rows)) if rows else ""
        write_text(self.run_dir / "scores.csv", table)
        self._finish(trainer, pl_module)

    def _finish(self, trainer: Trainer, pl_module: LightningModule) -> None:
        record = self._record(trainer, pl_module)
        logger = trainer.logger if isinstance(trainer.logger, TrackingLogger) else None
        if logger is not None:
            record["mlflow_run_id"] = logger.run_id
            if (scores := self.run_dir / "scores.csv").is_file():
                logger.experiment.log_artifact(logger.run_id, str(scores))
        if self._exports:
            folder, run = self.run_dir / "bundle", open_run(self.run_dir.parent)
            # Now, before other weights take the place of those that this one began with.
            record["earlier"] = earlier_trainings(run, record)
            export_bundle(run, record, folder)
            if logger is not None:
                record["mlflow_model_version"] = register_bundle(logger, self.bundle_name, folder)
        write_text(self.run_dir / "record.json", json.dumps(record, indent=1) + "\n")

    def _record(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        images = {file_key(item["image"]) for item in self.train_items if "image" in item}
        return {
            "bundle": self.bundle_name,
            "fold": self.fold,
            "settings": self.settings,
            "train_cases": [item["case"] for item in self.train_items],
            "test_cases": [item["case"] for item in self.test_items],
            "data_sha256": self.hashes,
            "images_sha256": sorted({self.hashes[name] for name in images}),
            "parameters": sum(p.numel() for p in pl_module.network.parameters()),
            "steps": trainer.global_step,
            "seconds": round(self._seconds, 1),
            "precision": str(trainer.precision),
            "device": _device_name(pl_module.device),
            "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
            "scores": [_json_safe(row) for row in pl_module.case_scores],
        }

    def _elapsed(self) -> float:
        running = 0.0 if self._start is None else time.perf_counter() - self._start
        return self._seconds + running


def _json_safe(row: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has neither NaN nor infinity: what is undefined becomes null, what is infinite the word "inf"."""

    def safe(value: Any) -> Any:
        if not isinstance(value, float) or math.isfinite(value):
            return value
        return None if math.isnan(value) else str(value)

    return {key: safe(value) for key, value in row.items()}


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = torch.cpu.get_capabilities().get("cpu_name") or platform.processor()
    return f"{name}, {torch.get_num_threads()} threads"
