"""Take a finished run into its bundle: weights, and the record that metadata and model card are made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from medkit.bundle.build import bundle_text, sources_root, write_bundle
from medkit.bundle.card import decimals
from medkit.bundle.evaluation import EVALUATION_FILE
from medkit.bundle.fragments import read_fragment
from medkit.bundle.store import BundleFolder, bundles_root
from medkit.data.writing import replacing, write_text
from medkit.errors import UsageError
from medkit.training.calibration import calibrate
from medkit.training.exported import training_facts
from medkit.training.run import SHIPPED, TrainingRun, fold_name, open_run
from medkit.training.score_summary import MEAN_OVER_LABELS, stored, summarise_scores
from medkit.training.volume_intervals import volume_intervals

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["adopt", "check_belong_together", "half_precision", "interval_options"]

_SAME_IN_ALL = ("bundle", "versions", "parameters", "steps", "precision", "data_sha256", "settings")
_OF_ONE_FOLD = {"train_folds", "test_folds"}  # settings in which folds differ
_INTERVAL_OPTIONS = ("cases_per_group", "sum_of_all")
_SHOWN = 300  # characters of a setting in a message


def adopt(folder: Path) -> list[str]:
    """Adopt a run: cross-validated, the network of all cases with the figures of its folds; or a network alone.

    Args:
        folder: ``runs/<bundle>/<name>``, finished. Of one network alone where the bundle's metadata name, as
            ``scored_by``, the script that measures it.

    Returns:
        Lines that say what was taken.

    Raises:
        UsageError: the run is of another config than ``train.json``, is unfinished, lacks folds or the final network,
            or its parts do not belong together.
    """
    run = open_run(folder)
    if run.training != SHIPPED:
        raise UsageError(
            f"{run.folder}: expected a run of the bundle's {SHIPPED}.json, got one of {run.training}.json, "
            f"which stays yours; use the bundle in {run.folder / fold_name(run.folds[-1])}"
        )
    source = sources_root() / run.bundle.name
    target = BundleFolder(bundles_root() / run.bundle.name).weights
    before = _adopted(source)
    scored_by = read_fragment(source / "metadata.yaml").get("scored_by")
    fold, record = _alone(run, scored_by) if scored_by else (None, _cross_validated(run, source))
    weights = torch.load(run.folder / fold_name(fold) / "model.pt", weights_only=True)
    stored = half_precision(weights)
    bundle_text(source, record)  # what cannot be rendered is found before anything is replaced
    # Into an open file: given a name, PyTorch writes it into the archive, and equal weights would make unequal files.
    with replacing(target) as temporary, temporary.open("wb") as file:
        torch.save(stored, file)
    write_text(source / "record.json", json.dumps(record, indent=1) + "\n")
    (source / EVALUATION_FILE).unlink(missing_ok=True)
    changed = write_bundle(source)
    return [
        *([f"figures none yet; measure them with {scored_by}"] if scored_by else _figures(record, before)),
        f"weights {target}",
        f"record  {source / 'record.json'}",
        *(f"text    {path}" for path in changed),
    ]


def _alone(run: TrainingRun, scored_by: str) -> tuple[int | None, dict[str, Any]]:
    """The held-out fold and the record of the one network of a run."""
    if len(run.folds) != 1:
        raise UsageError(
            f"{run.folder}: {scored_by} measures the network that is shipped, so that this bundle takes a run of one "
            "network; train without --cross-validate"
        )
    ((fold, record),) = _records(run).items()
    return fold, {"training": {**training_facts(run, record), "held_out": record["test_cases"]}}


def _cross_validated(run: TrainingRun, source: Path) -> dict[str, Any]:
    if None not in run.folds or len(run.folds) < 2:
        raise UsageError(f"{run.folder}: a bundle takes a cross-validated run; train with --cross-validate")
    records = _records(run)
    final, folds = records.pop(None), [records[fold] for fold in sorted(f for f in records if f is not None)]
    check_belong_together([final, *folds])
    intervals = volume_intervals(_rows(folds), **interval_options(source))
    return {
        "training": training_facts(run, final),
        "cross_validation": _cross_validation(folds),
        **({"volume_intervals": intervals} if intervals else {}),
        "calibration": calibrate(run),
    }


def _figures(record: dict[str, Any], before: dict[str, Any] | None) -> list[str]:
    return [
        f"Dice    {_dice(record)}; before: {_dice(before) if before else 'none'}",
        f"temperature {decimals(record['calibration']['temperature'], 2)}",
        *_coverage(record),
    ]


def interval_options(source: Path) -> dict[str, Any]:
    """How the metadata of a bundle's sources want intervals of volumes.

    Raises:
        UsageError: they want what there is not.
    """
    options: dict[str, Any] = read_fragment(source / "metadata.yaml").get("volume_intervals", {})
    if unknown := sorted(options.keys() - set(_INTERVAL_OPTIONS)):
        raise UsageError(
            f"{source / 'metadata.yaml'}: expected {' and '.join(_INTERVAL_OPTIONS)} in 'volume_intervals', got "
            f"{', '.join(unknown)}; correct it or take it out"
        )
    return options


def _coverage(record: dict[str, Any]) -> list[str]:
    if (intervals := record.get("volume_intervals")) is None:
        return []
    shown = ", ".join(
        f"{name} {decimals(found['coverage'] and found['coverage']['mean'], 3)}"
        for name, found in intervals["structures"].items()
    )
    return [f"volumes {100 * intervals['level']:g} % intervals hold in: {shown}"]


def _adopted(source: Path) -> dict[str, Any] | None:
    path = source / "record.json"
    content: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return content


def _dice(record: dict[str, Any]) -> str:
    found = record["cross_validation"]["summary"][MEAN_OVER_LABELS]["dice"]
    return f"{decimals(found['mean'], 3)} over {found['n']} cases (worst {decimals(found['worst'], 3)})"


def half_precision(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights stored in float16; integer buffers keep their type, equal tensors are stored once.

    DynUNet, for one, lists each of its blocks under two names.

    Raises:
        UsageError: a weight is not finite, or too large for float16.
    """
    kept: dict[tuple[Any, ...], torch.Tensor] = {}
    stored = {}
    for name, value in weights.items():
        half = (value.half() if value.is_floating_point() else value).contiguous()
        stored[name] = kept.setdefault((half.dtype, half.shape, half.numpy().tobytes()), half)
    for name, value in stored.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise UsageError(
                f"weight '{name}' holds NaN, infinity or a value beyond float16; it cannot be adopted"
            )
    return stored


def _records(run: TrainingRun) -> dict[int | None, dict[str, Any]]:
    if run.unfinished:
        left = ", ".join(fold_name(fold) for fold in run.unfinished)
        raise UsageError(f"{run.folder}: not finished ({left}); go on with --resume {run.folder.name}")
    return {
        fold: json.loads((run.folder / fold_name(fold) / "record.json").read_text()) for fold in run.folds
    }


def check_belong_together(records: Sequence[dict[str, Any]]) -> None:
    """Check that the final network (first) and those of the folds are of one make and one data set.

    Raises:
        UsageError: names what differs.
    """
    for key in _SAME_IN_ALL:
        values = {json.dumps(_common(record[key]), sort_keys=True) for record in records}
        if len(values) > 1:
            shown = "; ".join(value[:_SHOWN] for value in sorted(values))
            raise UsageError(
                f"the networks of this run differ in '{key}': {shown}; train them again as one run"
            )
    held_out = [case for record in records for case in record["test_cases"]]
    if sorted(held_out) != sorted(records[0]["train_cases"]):
        raise UsageError(
            "the held-out cases of the folds are not the cases that the final network was trained on"
        )


def _common(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: content for key, content in value.items() if key not in _OF_ONE_FOLD}


def _rows(folds: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"fold": record["fold"], **row} for record in folds for row in record["scores"]]


def _cross_validation(folds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    rows = _rows(folds)
    return {
        "summary": summarise_scores(rows),
        "folds": [
            {
                "fold": record["fold"],
                "cases": len(record["test_cases"]),
                "dice": summarise_scores(record["scores"])[MEAN_OVER_LABELS]["dice"]["mean"],
                "seconds": record["seconds"],
                "mlflow_run_id": record.get("mlflow_run_id"),
            }
            for record in folds
        ],
        "data_sha256": folds[0]["data_sha256"],
        "scores": [{key: stored(value) for key, value in row.items()} for row in rows],
    }
