"""Train a network of `segmenters.py` just as a bundle's is trained, and read the run's own scores."""

import contextlib
import hashlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machine import versions
from segmenters_networks import definition
from sources import sources_sha256

from medkit.bundle.instance import ConfigInstance
from medkit.bundle.store import find_bundle
from medkit.training.run import TrainingRun, create_run, fold_name, open_run

BUNDLE = "hippocampus_segmentation_unet"
SHAPE = {"spatial_dims": 3, "in_channels": 1, "out_channels": 3}
# The same for all, and none of it changes a number: no curve on the held-out cases, no pictures, no tracking.
_BARE = {
    "callbacks": ["@checkpoint", "@average_weights", "@guard", "@record"],
    "validate::dataset::data": "$[]",
    "train::trainer::logger": False,
    "train::trainer::enable_progress_bar": False,
    # On a CPU: in bfloat16 some of them take twice the time of float32, and few are much faster.
    "train::trainer::precision": "$'32-true' if @device.type == 'cpu' else precision.mixed_precision()",
}


@dataclass(frozen=True)
class Form:
    """How much is done.

    Args:
        folds: held out in turn, for every network.
        seeds: for every network and fold.
        more_folds: for the default network, its twin and the U-Net.
        more_seeds: for these.
        overrides: of the bundle's training config.
        cases: scored in a fold, the first of its list; all if left out.
        optimiser: what the overrides make of it, in words.
    """

    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    more_folds: tuple[int, ...]
    more_seeds: tuple[int, ...]
    overrides: dict[str, Any] = field(default_factory=dict)
    cases: int | None = None
    optimiser: str = "AdamW in one cycle of the learning rate"


_PAIRED: dict[str, Any] = {
    "folds": (0, 1),
    "seeds": (2026, 2027),
    "more_folds": (0, 1, 2, 3, 4),
    "more_seeds": (2026, 2027, 2028),
}
_SMALL = {"patch_size": [32, 48, 32], "batch_size": 2}
# Muon makes more of as few steps as a processor can take: on fold 0, 200 gave a DynUNet a Dice of .86, AdamW's .84.
_MUON = {
    "learning_rate": 0.04,
    "optimizer": {"_target_": "medkit.training.muon.muon", "_mode_": "callable", "lr": "@learning_rate"},
    "lr_scheduler": {
        "_target_": "monai.optimizers.WarmupCosineSchedule",
        "_mode_": "callable",
        "warmup_steps": 20,
        "t_total": "@steps",
    },
}
FORMS = {
    "full": Form(**_PAIRED),
    "middle": Form(
        **_PAIRED,
        overrides={**_SMALL, **_MUON, "samples_per_epoch": 100, "epochs": 4, "ema_decay": 0.97},
        optimiser="Muon in half a cosine of the learning rate",
    ),
    "short": Form(
        folds=(0,),
        seeds=(2026,),
        more_folds=(0,),
        more_seeds=(2026,),
        overrides={**_SMALL, "samples_per_epoch": 50, "epochs": 4, "ema_decay": 0.95},
        cases=16,
    ),
}


def overrides(label: str, seed: int, form: Form) -> dict[str, Any]:
    """Changes to the bundle's training config: the network, the seed, and what the form says."""
    network = {"_target_": "medkit.networks.create", **definition(label, **SHAPE)}
    changes = {**_BARE, **form.overrides, "network_def": network, "seed": seed}
    if form.cases is not None:
        changes["test::dataset::data"] = (
            f"$datalist.fold_items(@dataset_dir, @test_folds, 'truth')[:{form.cases}]"
        )
    return changes


def config(label: str, seed: int, form: Form) -> ConfigInstance:
    return ConfigInstance(find_bundle(BUNDLE), "train", overrides(label, seed, form))


def code() -> dict[str, str]:
    """What networks are made of: a hash of medkit's networks, operations and losses, and the versions of packages."""
    return {"sources": sources_sha256(("losses", "networks", "ops")), **versions()}


def key(label: str, fold: int, seed: int, form: Form, data: str) -> dict[str, Any]:
    """All that the scores depend on, short of the machine.

    Args:
        label: of `segmenters_networks.NETWORKS`.
        fold: held out.
        seed: of the run.
        form: see there.
        data: hash of the data set.
    """
    bundle = find_bundle(BUNDLE)
    digest = hashlib.sha256(bundle.config_path("train").read_bytes()).hexdigest()
    return {
        "what": "scores",
        "network": label,
        "fold": fold,
        "seed": seed,
        "overrides": overrides(label, seed, form),
        "train_config": digest,
        "code": code(),
        "data": data,
    }


def train(settings: dict[str, Any], runs: Path) -> dict[str, Any]:
    """Train what a key describes, from its last epoch if it was begun before.

    Args:
        settings: from `key`.
        runs: folder of all runs.

    Returns:
        Scores by case and label, seconds and device, from the run's own record.
    """
    run, fold = _run(settings, runs), settings["fold"]
    with contextlib.redirect_stdout(sys.stderr):  # Lightning prints what it tests
        run.train()
    record = json.loads((run.folder / fold_name(fold) / "record.json").read_text())
    return {name: record[name] for name in ("scores", "steps", "seconds", "device", "precision", "versions")}


def _run(settings: dict[str, Any], runs: Path) -> TrainingRun:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{settings['network']} fold{settings['fold']} seed{settings['seed']} {digest}"
    name = name.replace(", ", "-").replace(" ", "-")
    folder = (runs / BUNDLE / name).absolute()
    if (folder / "run.json").is_file():
        return open_run(folder)
    return create_run(BUNDLE, runs, overrides=settings["overrides"], name=name, held_out=[settings["fold"]])
