"""The files of an evaluation: tables, summary, and pictures of the worst cases."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from medkit.data.checks import check_same_grid
from medkit.data.reading import read_volume
from medkit.data.tables import csv_text
from medkit.data.volume import Volume
from medkit.data.writing import write_text
from medkit.errors import CaseError
from medkit.inference.records import to_json
from medkit.inference.result import UNKNOWN
from medkit.inference.scoring import read_label_map
from medkit.metrics.paired import CONFIDENCE, RESAMPLES
from medkit.metrics.segmentation import AGREEMENT, DEFINITIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from medkit.inference.evaluation import EvaluationSummary, LabelSummary, WorstCase
    from medkit.inference.scoring import Scores
    from medkit.metrics.segmentation import LabelScore

__all__ = ["Inputs", "write_evaluation"]

_SCORES, _PAIRS, _SUMMARY = "scores.csv", "paired.csv", "summary.json"
_SCORE_COLUMNS = ("dice", "surface_dice", "hd95_mm", "volume_ml", "truth_volume_ml")
_VERSIONS = ("medkit-imaging", "monai", "numpy", "scipy")
_READING = (
    "n counts the cases where a score is defined, n_infinite those of them where it is infinite; mean and sd "
    "(n - 1) are over the finite values, median and worst over all defined ones; null stands for undefined "
    "or infinite"
)
_PAIRED = (
    "predictions minus against, over the cases where both are finite, with a bias-corrected and accelerated "
    "bootstrap interval that draws whole groups"
)


@dataclass(frozen=True)
class Inputs:
    """What an evaluation was made from.

    Args:
        folders: as they were named, by source.
        predictions: file of each predicted case.
        references: file of each reference case.
        images: file of each image, where they were given.
        groups: case to group, where they were given.
    """

    folders: Mapping[str, Path]
    predictions: Mapping[str, Path]
    references: Mapping[str, Path]
    images: Mapping[str, Path]
    groups: Mapping[str, str]


def write_evaluation(
    summary: EvaluationSummary, output: Path, inputs: Inputs, surface_tolerance_mm: float
) -> EvaluationSummary:
    """Write tables and ``summary.json``, then pictures, in place of those of an earlier evaluation.

    Returns:
        The summary with the pictures of its worst cases; one that cannot be drawn has the reason instead.
    """
    tables = {_SCORES: _scores_csv(summary.scores)}
    if "against" in inputs.folders:
        tables[_PAIRS] = _paired_csv(summary, inputs.groups)
    _remove_earlier(output)
    for name, text in tables.items():
        write_text(output / name, text)
    _write_summary(summary, output, inputs, surface_tolerance_mm)
    drawn = tuple(
        _try_to_draw(
            case, f"worst/{rank:02d}-{PurePosixPath(case.case).name}.png", summary.scores, inputs, output
        )
        for rank, case in enumerate(summary.worst, 1)
    )
    summary = replace(summary, worst=drawn)
    _write_summary(summary, output, inputs, surface_tolerance_mm)
    return summary


def _write_summary(
    summary: EvaluationSummary, output: Path, inputs: Inputs, surface_tolerance_mm: float
) -> None:
    record = _record(summary, inputs, surface_tolerance_mm)
    write_text(output / _SUMMARY, to_json(_finite(record)))


def _remove_earlier(output: Path) -> None:
    """Remove what an earlier evaluation wrote, so that no file of it is taken for a new one."""
    if (output / _SUMMARY).is_file():
        for path in (*(output / "worst").glob("*.png"), output / _SCORES, output / _PAIRS, output / _SUMMARY):
            path.unlink(missing_ok=True)


def _try_to_draw(case: WorstCase, name: str, scores: Scores, inputs: Inputs, output: Path) -> WorstCase:
    """Draw a case, or say why not: the scores are good without it."""
    try:
        return _draw(case, name, scores, inputs, output)
    except Exception as error:
        return replace(case, reason=" ".join(f"not drawn: {type(error).__name__}: {error}".split()))


def _draw(case: WorstCase, name: str, scores: Scores, inputs: Inputs, output: Path) -> WorstCase:
    from medkit.figures.overlay import draw_overlay

    row = scores[case.case]
    prediction = read_label_map(inputs.predictions[case.case])
    truth = read_label_map(inputs.references[case.case])
    volume, reason = _background(inputs.images.get(case.case), truth, wanted=bool(inputs.images))
    draw_overlay(
        volume,
        prediction.array,
        {label: score.name for label, score in row.items()},
        output / name,
        title=f"{case.case}    mean Dice {case.mean_dice:.3f}",
        volumes_ml={label: score.volume_ml if score.size_known else UNKNOWN for label, score in row.items()},
        truth=truth.array,
    )
    return replace(case, picture=name, reason=reason)


def _background(path: Path | None, truth: Volume, *, wanted: bool) -> tuple[Volume, str | None]:
    """The image, or black where there is none, with the reason if one was wanted."""
    black = Volume(np.zeros(truth.grid.shape, np.float32), truth.grid, truth.name, truth.notes)
    if path is None:
        return black, "no image of this name" if wanted else None
    try:
        image = read_volume(path)
        check_same_grid(image.grid, image.name, truth.grid, truth.name)
    except CaseError as error:
        return black, str(error)
    return image, None


def _scores_csv(scores: Scores) -> str:
    rows = [
        (case, label, score.name, *(_score_cell(score, column) for column in _SCORE_COLUMNS))
        for case, row in scores.items()
        for label, score in sorted(row.items())
    ]
    return csv_text(("case", "label", "name", *_SCORE_COLUMNS), rows)


def _paired_csv(summary: EvaluationSummary, groups: Mapping[str, str]) -> str:
    columns = [f"{metric}{what}" for metric in AGREEMENT for what in ("", "_against", "_difference")]
    rows = [
        (case, groups.get(case, case), label, score.name, *_paired_cells(score, summary.against[case][label]))
        for case, row in summary.scores.items()
        if case in summary.against
        for label, score in sorted(row.items())
    ]
    return csv_text(("case", "group", "label", "name", *columns), rows)


def _paired_cells(score: LabelScore, other: LabelScore) -> Iterable[str]:
    for metric in AGREEMENT:
        first, second = getattr(score, metric), getattr(other, metric)
        yield from (_cell(first), _cell(second), _cell(first - second))


def _score_cell(score: LabelScore, column: str) -> str:
    value: float = getattr(score, column)
    return UNKNOWN if math.isnan(value) and not score.size_known else _cell(value)


def _cell(value: float) -> str:
    """Six digits; empty where undefined, ``inf`` where infinite."""
    return "" if math.isnan(value) else f"{value:.6g}"


def _record(summary: EvaluationSummary, inputs: Inputs, surface_tolerance_mm: float) -> dict[str, Any]:
    tables = [_SCORES, *[_PAIRS] * ("against" in inputs.folders)]
    record: dict[str, Any] = {
        "inputs": {source: str(folder.absolute()) for source, folder in inputs.folders.items()},
        "cases_total": len(inputs.references),
        "cases_scored": len(summary.scores),
        "failures": [asdict(failure) for failure in summary.failures],
        "predictions_without_truth": summary.without_truth,
        "references_left_out": summary.without_prediction,
        "labels_not_scored": summary.unnamed,
        "voxel_size_unknown": summary.size_unknown,
        "definitions": {**DEFINITIONS, "summary": _READING},
        "surface_tolerance_mm": surface_tolerance_mm,
        "labels": [_label_record(label) for label in summary.labels],
        "worst": [asdict(case) for case in summary.worst],
    }
    if "against" in inputs.folders:
        record["definitions"]["paired"] = _PAIRED
        record["paired"] = {
            "confidence": CONFIDENCE,
            "resamples": RESAMPLES,
            "cases": len(summary.scores.keys() & summary.against.keys()),
            "grouped": bool(inputs.groups),
        }
    return record | {
        "sha256": summary.hashes,
        "versions": {name: version(name) for name in _VERSIONS},
        "seconds": summary.seconds,
        "files": [*tables, *(case.picture for case in summary.worst if case.picture)],
    }


def _label_record(label: LabelSummary) -> dict[str, Any]:
    record: dict[str, Any] = {"label": label.label, "name": label.name}
    for source in ("predictions", "against"):
        if statistics := getattr(label, source):
            record[source] = {metric: asdict(statistic) for metric, statistic in statistics.items()}
    if label.paired:
        record["paired"] = {
            metric: {"n": pair.n, "n_left_out": pair.n_left_out, **pair.interval._asdict()}
            for metric, pair in label.paired.items()
        }
    return record


def _finite(value: Any) -> Any:
    """The same with ``None`` for NaN and infinity, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
