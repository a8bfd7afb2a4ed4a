"""Trainings whose weights another one began with: they count in how long a network learned, and in what it has seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medkit.bundle.store import BundleFolder
from medkit.data.hashing import hash_files
from medkit.errors import UsageError
from medkit.training.run import is_run, open_run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medkit.training.run import TrainingRun

__all__ = ["check_nothing_held_out_was_seen", "earlier_trainings"]

_KEPT = ("settings", "steps", "seconds", "device", "mlflow_run_id", "train_cases")


def earlier_trainings(run: TrainingRun, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is known of the trainings before one, from the first to that whose weights it began with.

    The record has them, from the training's end. For one without, they are looked up where the weights lie that the run
    was told to begin with, by their hash: in the folder of a run, or in a bundle that says which cases its network
    learned from. What has moved or changed by then is not known.

    Args:
        run: the later one.
        record: of one of its networks.

    Returns:
        ``run``, ``settings``, ``steps``, ``seconds``, ``device``, ``train_cases`` and, where it was tracked,
        ``mlflow_run_id`` of each.
    """
    if "earlier" in record:
        return list(record["earlier"])
    weights, digest = run.overrides.get("initial_weights"), record["settings"].get("initial_weights")
    if weights is None or digest is None or hash_files([Path(weights)]) != digest:
        return []
    folder = Path(weights).parent
    if is_run(folder.parent) and (folder / "record.json").is_file():
        before = open_run(folder.parent)
        written = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        return [*earlier_trainings(before, written), {"run": before.folder.name, **_facts(written)}]
    bundle = BundleFolder(folder.parent)
    return _of_bundle(bundle) if bundle.weights == Path(weights).resolve() else []


def _of_bundle(bundle: BundleFolder) -> list[dict[str, Any]]:
    try:
        training = bundle.metadata.get("training")
    except UsageError:  # no bundle
        return []
    if not (isinstance(training, dict) and isinstance(training.get("train_cases"), list)):  # somebody else's
        return []
    return [*training.get("earlier", []), {"run": str(training.get("run", bundle.name)), **_facts(training)}]


def _facts(written: Mapping[str, Any]) -> dict[str, Any]:
    return {key: written[key] for key in _KEPT if key in written}


def check_nothing_held_out_was_seen(run: TrainingRun, record: Mapping[str, Any]) -> None:
    """Check that no case that a network holds out was learned from by a training before.

    Raises:
        UsageError: names the case and the training.
    """
    held_out = set(record["test_cases"])
    for before in earlier_trainings(run, record):
        if seen := sorted(held_out.intersection(before["train_cases"])):
            raise UsageError(
                f"{run.folder}: expected that nothing it holds out was learned from, got weights that it began with, of "
                f"run {before['run']}, which learned from {', '.join(seen[:3])}; begin with others, or hold out others"
            )
