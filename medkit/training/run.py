"""A training run: one folder, one or several networks (folds and the final one), resumable at any point."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medkit.bundle.instance import ConfigInstance
from medkit.bundle.store import BundleFolder, find_bundle
from medkit.bundle.versions import check_versions
from medkit.data.writing import write_text
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["TrainingRun", "create_run", "fold_name", "open_run"]

_RUN_FILE = "run.json"


def fold_name(fold: int | None) -> str:
    """Folder of the network that holds out a fold, or of the one trained on every case."""
    return "all" if fold is None else f"fold{fold}"


@dataclass(frozen=True)
class TrainingRun:
    """A run's folder with what is needed to go on with it.

    Args:
        folder: ``runs/<bundle>/<name>``.
        bundle: the bundle that is trained.
        overrides: checked config changes; they belong to the run and hold when it is resumed.
        folds: networks to train, by held-out fold; ``None`` trains on every case.
    """

    folder: Path
    bundle: BundleFolder
    overrides: dict[str, Any]
    folds: tuple[int | None, ...]

    @property
    def unfinished(self) -> list[int | None]:
        """Networks that have no record yet."""
        return [fold for fold in self.folds if not (self.folder / fold_name(fold) / "record.json").is_file()]

    def train(self, on_start: Callable[[int | None], None] = lambda fold: None) -> None:
        """Train what is unfinished, each from its last epoch.

        Raises:
            UsageError: the config or the data does not serve.
        """
        for fold in self.unfinished:
            on_start(fold)
            config = self._config(fold)
            config.run("initialize")
            config.run("run")

    def tracking_uri(self) -> str:
        """The MLflow store that the run logs to."""
        from medkit.training.tracking import default_tracking_uri

        return self._config(self.folds[0]).build("tracking_uri") or default_tracking_uri()

    def _config(self, fold: int | None) -> ConfigInstance:
        place = {"run_dir": str(self.folder / fold_name(fold)), "run_name": self.folder.name, "fold": fold}
        return ConfigInstance(self.bundle, "train", {**self.overrides, **place})


def create_run(
    bundle: str | Path,
    runs: Path,
    *,
    overrides: dict[str, Any],
    name: str | None = None,
    held_out: Iterable[int | None] = (None,),
    cross_validate: bool = False,
) -> TrainingRun:
    """Begin a run in a folder of its own.

    Args:
        bundle: name or folder.
        runs: folder of all runs.
        overrides: config key path to value.
        name: of the run; the time by default.
        held_out: networks to train, by held-out fold.
        cross_validate: instead, every fold of the data set and the network on all cases.

    Raises:
        UsageError: the bundle cannot be trained, there is no such data set or fold, the name is taken, or the
            config lacks an override's key.
    """
    from medkit.data.datalist import number_of_folds, remaining_folds

    folder = find_bundle(bundle)
    check_versions(folder.metadata, folder.name)
    config = ConfigInstance(folder, "train", overrides)
    folds, dataset = tuple(held_out), config.build("dataset_dir")
    if cross_validate:
        folds = (*range(number_of_folds(dataset)), None)
    for fold in folds:
        remaining_folds(dataset, fold)
    name = name or datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    run = TrainingRun((runs / folder.name / name).absolute(), folder, overrides, folds)
    if (run.folder / _RUN_FILE).exists():
        raise UsageError(
            f"{run.folder}: this run exists; go on with it by --resume {name}, or choose another name"
        )
    # The run keeps the configs that it was begun with: an edit to the bundle must not change its later folds.
    kept = run.folder / "source" / folder.name
    shutil.copytree(folder.root, kept, ignore=shutil.ignore_patterns("models", "__pycache__"))
    run = replace(run, bundle=BundleFolder(kept))
    content = {"bundle": str(kept), "overrides": overrides, "folds": folds}
    write_text(run.folder / _RUN_FILE, json.dumps(content, indent=1) + "\n")
    return run


def open_run(folder: Path) -> TrainingRun:
    """Take up a run.

    Raises:
        UsageError: there is no run in that folder.
    """
    path = folder / _RUN_FILE
    if not path.is_file():
        known = sorted(entry.parent.name for entry in folder.parent.glob(f"*/{_RUN_FILE}"))
        raise UsageError(f"{folder}: no training run here; runs: {', '.join(known) or 'none'}")
    content = json.loads(path.read_text())
    bundle = BundleFolder(Path(content["bundle"]))
    return TrainingRun(folder.absolute(), bundle, content["overrides"], tuple(content["folds"]))
