"""A training run: one folder, one or several networks (folds and the final one), resumable at any point."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from medkit.bundle.copying import copy_without_weights
from medkit.bundle.instance import ConfigInstance
from medkit.bundle.licence import accepted_licence
from medkit.bundle.store import BundleFolder, find_bundle
from medkit.bundle.versions import check_versions
from medkit.data.writing import UNFINISHED, write_text
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pytorch_lightning import Trainer

    from medkit.training.callbacks.progress import ProgressListener

__all__ = ["SETTINGS_FILE", "SHIPPED", "TrainingRun", "create_run", "fold_name", "is_run", "open_run"]

_RUN_FILE, _SOURCE, _LOCK = "run.json", "source", ".lock"
SHIPPED = "train"  # the config whose runs a bundle adopts
SETTINGS_FILE = "settings.json"  # in the folder of each network, from the start of its training
_FIRST_WEIGHTS = "initial_weights"
_COUNTS = ("epochs", "samples_per_epoch", "batch_size", "val_every")
_OPTIONS = {"fold": "--fold", "run_name": "--name", "run_dir": "--runs"}


def fold_name(fold: int | None) -> str:
    """Folder of the network that holds out a fold, or of the one trained on every case."""
    return "all" if fold is None else f"fold{fold}"


@dataclass(frozen=True)
class TrainingRun:
    """A run's folder with what is needed to go on with it.

    Args:
        folder: ``runs/<bundle>/<name>``.
        overrides: checked config changes; they belong to the run and hold when it is resumed.
        folds: networks to train, by held-out fold; ``None`` trains on every case.
        tracking_uri: MLflow store that the run logs to.
        accepted_licence: terms that the user had to accept, once for the whole run.
        training: name of the bundle's config that it runs.
        new: whether it was made just now. What cannot be built then takes the folder, and so the name, with it.
    """

    folder: Path
    overrides: dict[str, Any]
    folds: tuple[int | None, ...]
    tracking_uri: str
    accepted_licence: str | None = None
    training: str = SHIPPED
    new: bool = field(default=False, compare=False)

    @property
    def bundle(self) -> BundleFolder:
        """The bundle as it was when the run began: an edit to it must not change the run's later folds."""
        return BundleFolder(self.folder / _SOURCE / self.folder.parent.name)

    @property
    def unfinished(self) -> list[int | None]:
        """Networks that have no record yet."""
        return [fold for fold in self.folds if not (self.folder / fold_name(fold) / "record.json").is_file()]

    def train(
        self,
        on_start: Callable[[int | None], None] = lambda fold: None,
        listener: ProgressListener | None = None,
    ) -> None:
        """Train what is unfinished, each from its last epoch.

        Args:
            on_start: called with the held-out fold of each network before it is trained.
            listener: told how far it has come, in the place of Lightning's own bars.

        Raises:
            UsageError: the config or the data does not serve, or another process trains the same run.
        """
        with _only_one(self.folder):
            for fold in self.unfinished:
                on_start(fold)
                self._train(self.config(fold), listener)

    def _train(self, config: ConfigInstance, listener: ProgressListener | None) -> None:
        try:
            config.run("initialize")
            if listener is not None:
                _tell(config.build("train::trainer"), listener)
            config.run("run")
        except UsageError:
            if self.new and not any(self.folder.glob("*/checkpoints/*")):
                shutil.rmtree(self.folder)
            raise

    def config(self, fold: int | None) -> ConfigInstance:
        """The training config of one network of the run, its parts not built yet."""
        place = {"run_dir": str(self.folder / fold_name(fold)), "run_name": self.folder.name, "fold": fold}
        return ConfigInstance(
            self.bundle, self.training, {**self.overrides, **place, "tracking_uri": self.tracking_uri}
        )


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Keep a second process out of a run: two would write the same checkpoint. The lock of one that died is free."""
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(
            f"{folder}: expected a run that nobody trains, got one that another process is training; wait for it, or "
            "end it first"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _tell(trainer: Trainer, listener: ProgressListener) -> None:
    from pytorch_lightning.callbacks import ProgressBar

    from medkit.training.callbacks.progress import Progress

    others = [callback for callback in trainer.callbacks if not isinstance(callback, ProgressBar)]
    trainer.callbacks = [Progress(listener), *others]


def create_run(
    bundle: str | Path,
    runs: Path,
    *,
    overrides: dict[str, Any],
    name: str | None = None,
    held_out: Iterable[int | None] = (None,),
    cross_validate: bool = False,
    accept_licence: bool = False,
    training: str = SHIPPED,
) -> TrainingRun:
    """Begin a run in a folder of its own.

    Args:
        bundle: name or folder.
        runs: folder of all runs, and of their MLflow store unless ``MLFLOW_TRACKING_URI`` or the config name one.
        overrides: config key path to value.
        name: of the run; the time by default.
        held_out: networks to train, by held-out fold.
        cross_validate: instead, every fold of the data set and the network on all cases.
        accept_licence: whether the terms of a bundle that forbids commercial use are accepted.
        training: the bundle's config to run: ``train``, or another one that has a trainer.

    Raises:
        UsageError: the bundle cannot be trained, it has no such config, its parts cannot be built, its terms are not
            accepted, there is no such data set or fold or no such weights to begin with, the name is taken, or an
            override is of a key that the config lacks or the run sets by itself.
    """
    from medkit.data.datalist import number_of_folds, remaining_folds
    from medkit.training.dry_run import check_training
    from medkit.training.tracking import absolute_uri, default_tracking_uri

    for key in _OPTIONS.keys() & overrides.keys():
        raise UsageError(f"--set {key}: a run sets '{key}' by itself; use {_OPTIONS[key]}")
    folder = find_bundle(bundle)
    licence = accepted_licence(folder, accept=accept_licence)
    check_versions(folder.metadata, folder.name)
    if lender := folder.metadata.get("weights_of"):
        raise UsageError(
            f"{folder.name} runs the network of {lender} and has no training of its own; train that one"
        )
    if training not in (known := folder.training_configs):
        raise UsageError(
            f"{folder.name}: expected one of its training configs, {', '.join(known) or 'of which it has none'}, got "
            f"'{training}'"
        )
    config = ConfigInstance(folder, training, overrides)
    overrides = {**overrides, **_first_weights(config)}
    folds, dataset = tuple(held_out), config.build("dataset_dir")
    split = config.build("split") if "split" in config else None
    if cross_validate:
        folds = (*range(number_of_folds(dataset, split)), None)
    for fold in folds:
        remaining_folds(dataset, fold, split)
    uri = absolute_uri(config.build("tracking_uri") or default_tracking_uri(runs))
    name = name or datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    _check_lengths(config)
    check_training(folder, config, overrides)
    run = TrainingRun(
        (runs / folder.name / name).absolute(), overrides, folds, uri, licence, training, new=True
    )
    _begin(run, folder)
    return run


def _first_weights(config: ConfigInstance) -> dict[str, str]:
    """The weights to begin with, if any, by their whole path: a run holds no weights, and is resumed from anywhere."""
    from medkit.training.initial_weights import initial_weights_sha256

    path = config.build(_FIRST_WEIGHTS) if _FIRST_WEIGHTS in config else None
    initial_weights_sha256(path)
    return {} if path is None else {_FIRST_WEIGHTS: str(Path(path).absolute())}


def _check_lengths(config: ConfigInstance) -> None:
    """Refuse what would leave no step to train: parts divide by their number."""
    given = {key: config.build(key) for key in _COUNTS if key in config}
    for key, count in given.items():
        if not isinstance(count, int) or count < 1:
            raise UsageError(
                f"{key}: expected a whole number of at least 1, got {count!r}; choose one by --set {key}"
            )
    batch = given.get("batch_size", 1)
    samples = given.get("samples_per_epoch", batch)
    if samples < batch:
        raise UsageError(
            f"samples_per_epoch: expected at least one batch of {batch}, got {samples}; --set a larger "
            "samples_per_epoch, or a smaller batch_size"
        )


def _begin(run: TrainingRun, bundle: BundleFolder) -> None:
    """Make the run's folder, whole or not at all."""
    temporary = run.folder.with_name(f"{UNFINISHED}{os.getpid()}-{run.folder.name}")
    kept = ("training", "overrides", "folds", "tracking_uri", "accepted_licence")
    content = {key: getattr(run, key) for key in kept}
    try:
        copy_without_weights(bundle, temporary / _SOURCE / bundle.name)
        write_text(temporary / _RUN_FILE, json.dumps(content, indent=1) + "\n")
        temporary.rename(run.folder)
    except OSError as error:
        if not run.folder.exists():
            raise
        raise UsageError(
            f"{run.folder}: this run exists; go on with it by --resume {run.folder.name}, or choose another name"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_run(folder: Path) -> bool:
    """Whether ``medkit train`` began a run in a folder."""
    return (folder / _RUN_FILE).is_file()


def open_run(folder: Path) -> TrainingRun:
    """Take up a run.

    Raises:
        UsageError: there is no run in that folder, or its ``run.json`` is damaged.
    """
    path = folder / _RUN_FILE
    if not is_run(folder):
        known = sorted(entry.parent.name for entry in folder.parent.glob(f"[!.]*/{_RUN_FILE}"))
        raise UsageError(
            f"{folder}: no training run here; runs: {', '.join(known) or 'none'}; --runs names the folder of all runs"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        folds, licence = tuple(content["folds"]), content.get("accepted_licence")
        training = content.get("training", SHIPPED)  # a run of an older medkit says nothing of it
        return TrainingRun(
            folder.resolve(), content["overrides"], folds, content["tracking_uri"], licence, training
        )
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: expected the settings of a run, got something else ({error!r})") from error
