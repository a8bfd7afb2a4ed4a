"""The bundle that a training leaves: its network, what inference shares with it, and no figure of another network.

What the published bundle's metadata and card tell of accuracy, temperature, intervals of volumes and data is told of the
network that it is published with. None of it goes along.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medkit.bundle.card import decimals
from medkit.bundle.copying import copy_without_weights
from medkit.bundle.shared_parts import shared_overrides, write_overrides
from medkit.bundle.store import BundleFolder
from medkit.data.writing import UNFINISHED, write_text
from medkit.training.earlier import earlier_trainings
from medkit.training.run import TrainingRun, fold_name
from medkit.training.score_summary import summarise_scores

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["export_bundle", "training_facts"]

_OF_ANOTHER = (
    "training",
    "cross_validation",
    "calibration",
    "volume_intervals",
    "evaluation",
    "scored_by",
    "folds",
    "tuning",
)
_KEPT = (
    "settings",
    "parameters",
    "steps",
    "seconds",
    "precision",
    "device",
    "versions",
    "mlflow_run_id",
    "images_sha256",
)


def training_facts(run: TrainingRun, record: Mapping[str, Any]) -> dict[str, Any]:
    """What metadata and card tell of a training.

    Args:
        run: it belongs to.
        record: of the network, as :class:`medkit.training.callbacks.run_record.RunRecord` writes it.
    """
    hashes = json.dumps(record["data_sha256"], sort_keys=True)
    return {
        "run": run.folder.name,
        # Where the first weights lay says nothing elsewhere; the settings have their hash.
        "overrides": {key: value for key, value in run.overrides.items() if key != "initial_weights"},
        **({"accepted_licence": run.accepted_licence} if run.accepted_licence else {}),
        **{key: record[key] for key in _KEPT if key in record},
        "cases": len(record["train_cases"]),
        "train_cases": record["train_cases"],  # whoever begins with these weights must not hold them out
        "data_sha256": hashlib.sha256(hashes.encode()).hexdigest(),
        **({"earlier": earlier} if (earlier := earlier_trainings(run, record)) else {}),
    }


def export_bundle(
    run: TrainingRun, record: Mapping[str, Any], target: Path, figures: Mapping[str, Any] | None = None
) -> None:
    """Write one network of a run as a bundle of its own, whole or not at all; it takes the place of an earlier one.

    Args:
        run: its ``source`` is the bundle that was trained.
        record: of the network; its weights lie in the run's folder.
        target: folder of the new bundle.
        figures: keys of the metadata that were measured with this very run, such as ``calibration``.

    Raises:
        UsageError: a change of the training cannot be made to the config of inference.
    """
    temporary = target.with_name(f"{UNFINISHED}{os.getpid()}-{target.name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        copy_without_weights(run.bundle, temporary)
        made = BundleFolder(temporary)
        write_overrides(made, shared_overrides(run.bundle, run.overrides))
        metadata = {**_metadata(run, record), **(figures or {})}
        write_text(made.config_path("metadata"), json.dumps(metadata, indent=4, ensure_ascii=False) + "\n")
        write_text(made.root / "docs" / "README.md", "\n".join(_card(run, record, metadata)))
        made.weights.parent.mkdir()
        shutil.copy2(run.folder / fold_name(record["fold"]) / "model.pt", made.weights)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _metadata(run: TrainingRun, record: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in run.bundle.metadata.items() if key not in _OF_ANOTHER}
    training = {**training_facts(run, record), "held_out": record["test_cases"]}
    return {
        **kept,
        "description": f"The network of {_named(run, record)}. That bundle: {kept.get('description', '-')}",
        "data_source": f"that of {_named(run, record)}: {_data(training)}",
        "training": training,
    }


def _named(run: TrainingRun, record: Mapping[str, Any]) -> str:
    return f"training run {run.folder.name} ({fold_name(record['fold'])}) of {run.bundle.name}"


def _data(training: Mapping[str, Any]) -> str:
    return f"{training['cases']} cases; SHA-256 over the data's hashes {training['data_sha256']}"


def _card(run: TrainingRun, record: Mapping[str, Any], metadata: Mapping[str, Any]) -> Iterator[str]:
    training, name = metadata["training"], run.bundle.name
    yield f"# {name}, run {run.folder.name} ({fold_name(record['fold'])})\n"
    yield f"The network of a training run, not the one that {name} is published with: what the card of that one tells of"
    yield "accuracy, temperature and intervals of volumes does not hold here.\n"
    yield f"Labels: {metadata.get('label_classes', '-')}.\n"
    yield "## Use\n\n```\nmedkit predict FOLDER_OF_THIS_BUNDLE SCAN.nii.gz --output results\n```\n"
    yield "## Accuracy\n"
    yield from _accuracy(record, metadata)
    yield f"## Training\n\nData: {_data(training)}.\n"
    facts = (f"{training[key]} {key}" for key in ("parameters", "steps"))
    yield f"{', '.join(facts)}, {training['precision']}, on {training['device']}.\n"
    for key, value in training["overrides"].items():
        yield f"- `{key}` was set to `{json.dumps(value)}`"
    yield f"\n## What {name} says of its use\n"
    yield "Written for the published network and its data; read it as the least that holds here too.\n"
    yield from (f"- {line}" for line in metadata.get("limitations", ()))
    yield "\nTerms: see LICENSE.\n"


def _accuracy(record: Mapping[str, Any], metadata: Mapping[str, Any]) -> Iterator[str]:
    """A table of Dice, of the folds of the run or of the cases that this network held out."""
    folds = metadata.get("cross_validation")
    summary = folds or (summarise_scores(record["scores"]) if record["scores"] else None)
    if summary is None:
        yield "Not measured.\n" if record["test_cases"] else "Not measured: it was trained on every case.\n"
        return
    yield (
        "Cross-validated: each case was scored by a network of this run that never saw it, and not by this one.\n"
        if folds
        else f"Scored on the {len(record['test_cases'])} cases that it was not trained on.\n"
    )
    yield "| label | n | Dice mean ± sd | worst |\n|---|---|---|---|"
    for label, row in summary.items():
        dice = row["dice"]
        mean, sd, worst = (decimals(dice[key], 3) for key in ("mean", "sd", "worst"))
        yield f"| {label} | {dice['n']} | {mean} ± {sd} | {worst} ({dice['worst_case']}) |"
    yield ""
    if "calibration" in metadata:
        temperature = decimals(metadata["calibration"]["temperature"], 2)
        yield f"Temperature {temperature}, fitted to the held-out cases of the folds.\n"
