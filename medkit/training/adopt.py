"""Take a finished run into its bundle: weights, and the record that metadata and model card are made from."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from medkit.bundle.build import bundle_text, sources_root
from medkit.bundle.card import decimals
from medkit.bundle.check import check_bundle
from medkit.bundle.checks.weights import SIZE_LIMIT
from medkit.bundle.evaluation import EVALUATION_FILE
from medkit.bundle.fragments import read_fragment
from medkit.bundle.shared_parts import changed_parts, shared_config
from medkit.bundle.store import BundleFolder, bundles_root
from medkit.data.writing import replace_files
from medkit.errors import UsageError
from medkit.training.calibration import SEARCHED, calibrate
from medkit.training.earlier import check_nothing_held_out_was_seen
from medkit.training.exported import export_bundle, training_facts
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
_NAMED = 3  # differences or problems in a message


def adopt(folder: Path, to: Path | None = None, *, other_data: bool = False) -> list[str]:
    """Adopt a run: cross-validated, the network of all cases with the figures of its folds; or a network alone.

    The new bundle is made and checked in a folder of its own first; then all is replaced, or nothing.

    Args:
        folder: ``runs/<bundle>/<name>``, finished. Of one network alone, with a fold held out, where the bundle's
            metadata name, as ``scored_by``, the script that measures it.
        to: folder for a bundle of its own, with the network and the settings of the run; medkit's bundle stays then.
        other_data: whether the run may have learned from other data than the weights that the bundle has.

    Returns:
        Lines that say what was taken.

    Raises:
        UsageError: the run is of another config than ``train.json``, is unfinished, lacks folds or the final network,
            its parts do not belong together, it began with weights that learned from what it holds out, or what came of
            it does not pass the check of bundles. Without ``to``:
            its network, preprocessing or windows are not the bundle's, or it learned from other data.
    """
    run = open_run(folder)
    if run.training != SHIPPED:
        raise UsageError(
            f"{run.folder}: expected a run of the bundle's {SHIPPED}.json, got one of {run.training}.json, "
            f"which stays yours; use the bundle in {run.folder / fold_name(run.folds[-1])}"
        )
    source = sources_root() / run.bundle.name
    before, scored_by = _adopted(source), read_fragment(source / "metadata.yaml").get("scored_by")
    fold = _network_of(run, scored_by)
    records = _records(run)
    for one in records.values():
        check_nothing_held_out_was_seen(run, one)
    if to is None:
        _check_same_parts(run, source)
        _check_same_data(run, training_facts(run, records[fold]), before, other_data)
    elif to.exists():
        raise UsageError(f"{to}: expected a folder that is to be made, got one that exists; choose another")
    record = _record_alone(run, records[fold]) if scored_by else _record(run, records, source)
    written = _make_copy(run, records[fold], record, to) if to else _replace(run, fold, record, source)
    return [
        *([f"figures none yet; measure them with {scored_by}"] if scored_by else _figures(record, before)),
        *written,
    ]


def _network_of(run: TrainingRun, scored_by: str | None) -> int | None:
    """The held-out fold of the network to adopt; that of all cases, of a cross-validated run, holds out none."""
    if scored_by and len(run.folds) != 1:
        raise UsageError(
            f"{run.folder}: {scored_by} measures the network that is shipped, so that this bundle takes a run of one "
            "network; train without --cross-validate"
        )
    if scored_by and run.folds == (None,):
        raise UsageError(
            f"{run.folder}: {scored_by} measures with cases that were held out, got a network that learned from all; "
            "train with --fold"
        )
    if not scored_by and (None not in run.folds or len(run.folds) < 2):
        raise UsageError(f"{run.folder}: a bundle takes a cross-validated run; train with --cross-validate")
    return run.folds[0] if scored_by else None


def _check_same_parts(run: TrainingRun, source: Path) -> None:
    """Refuse weights, and figures, of a network or a preprocessing that the bundle does not have."""
    trained = shared_config(run.bundle, run.overrides)
    if changed := changed_parts(trained, read_fragment(source / "inference.yaml")):
        more = f" (and {len(changed) - _NAMED} more)" if len(changed) > _NAMED else ""
        raise UsageError(
            f"{run.folder}: expected a run of the network, preprocessing and windows of {source.name}, got others, here "
            f"with the bundle's: {'; '.join(changed[:_NAMED])}{more}. Change {source} first (network.yaml and what it "
            "and inference.yaml extend), or make a bundle of its own by --to FOLDER"
        )


def _check_same_data(
    run: TrainingRun, facts: dict[str, Any], before: dict[str, Any] | None, other_data: bool
) -> None:
    """Refuse to put what learned from other data in the place of weights that metadata and card tell of."""
    known = before["training"] if before else facts
    if known["data_sha256"] != facts["data_sha256"] and not other_data:
        raise UsageError(
            f"{run.folder}: expected a run on the {known['cases']} cases that {run.bundle.name} learned from, got one "
            f"on other data ({facts['cases']} cases). Once metadata.yaml tells of these (data_source, limitations), "
            "adopt it by --other-data; or make a bundle of its own by --to FOLDER"
        )


def _record_alone(run: TrainingRun, record: dict[str, Any]) -> dict[str, Any]:
    return {"training": {**training_facts(run, record), "held_out": record["test_cases"]}}


def _record(run: TrainingRun, records: dict[int | None, dict[str, Any]], source: Path) -> dict[str, Any]:
    final, folds = records[None], [records[fold] for fold in sorted(f for f in records if f is not None)]
    check_belong_together([final, *folds])
    intervals = volume_intervals(_rows(folds), **interval_options(source))
    return {
        "training": training_facts(run, final),
        "cross_validation": _cross_validation(folds),
        **({"volume_intervals": intervals} if intervals else {}),
        "calibration": calibrate(run),
    }


def _make_copy(run: TrainingRun, final: dict[str, Any], record: dict[str, Any], to: Path) -> list[str]:
    """A bundle of its own, with what was measured with this run."""
    figures: dict[str, Any] = {
        key: record[key] for key in ("volume_intervals", "calibration") if key in record
    }
    if "cross_validation" in record:
        figures["cross_validation"] = record["cross_validation"]["summary"]
    export_bundle(run, final, to, figures)
    try:
        _check(BundleFolder(to))
    except UsageError:
        shutil.rmtree(to)
        raise
    return [f"bundle  {to}; {run.bundle.name} stays as it is"]


def _replace(run: TrainingRun, fold: int | None, record: dict[str, Any], source: Path) -> list[str]:
    """Make the new bundle aside, check it, and put its files in the place of the old ones."""
    root, buffer = bundles_root() / source.name, io.BytesIO()
    # Not into a file by name: PyTorch writes that into the archive, and equal weights would make unequal files.
    torch.save(half_precision(torch.load(_weights(run, fold), weights_only=True)), buffer)
    written = json.dumps(record, indent=1) + "\n"
    files = {name: text.encode() for name, text in bundle_text(source, json.loads(written)).items()}
    files["models/model.pt"] = buffer.getvalue()
    if len(buffer.getvalue()) > SIZE_LIMIT:
        raise UsageError(
            f"{_weights(run, fold)}: expected weights of at most {SIZE_LIMIT / 1e6:.0f} MB in half precision, got "
            f"{len(buffer.getvalue()) / 1e6:.1f}; use fewer filters"
        )
    with TemporaryDirectory() as scratch:
        aside = Path(scratch) / source.name
        replace_files({aside / name: content for name, content in files.items()})
        _check(BundleFolder(aside))
    changed = [root / name for name, content in files.items() if not _holds(root / name, content)]
    replace_files(
        {
            **{root / name: content for name, content in files.items()},
            source / "record.json": written.encode(),
            source / EVALUATION_FILE: None,
            **dict.fromkeys((root / "docs").glob("*.png")),  # that show what those weights gave
        }
    )
    return [
        f"weights {BundleFolder(root).weights}",
        f"record  {source / 'record.json'}",
        *(f"text    {path}" for path in changed if path != BundleFolder(root).weights),
    ]


def _weights(run: TrainingRun, fold: int | None) -> Path:
    return run.folder / fold_name(fold) / "model.pt"


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def _check(made: BundleFolder) -> None:
    if problems := [found.problem for found in check_bundle(made) if found.problem]:
        more = f" (and {len(problems) - _NAMED} more)" if len(problems) > _NAMED else ""
        raise UsageError(
            f"{made.name}: expected a bundle that passes its check, got {'; '.join(problems[:_NAMED])}{more}; nothing "
            "was replaced"
        )


def _figures(record: dict[str, Any], before: dict[str, Any] | None) -> list[str]:
    return [
        f"Dice    {_dice(record)}; before: {_dice(before) if before else 'none'}",
        f"temperature {_temperature(record['calibration']['temperature'])}",
        *_coverage(record),
    ]


def _temperature(found: float) -> str:
    shown, (lowest, highest) = decimals(found, 2), SEARCHED
    if lowest * 1.01 < found < highest / 1.01:
        return shown
    return f"{shown}, an end of the range that is searched: these probabilities tell little; train for longer"


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
