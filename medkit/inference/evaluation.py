"""Score predicted label maps against reference ones, over all cases and against another method."""

from __future__ import annotations

import csv
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from medkit.data.cases import find_cases
from medkit.data.label_names import label_table, read_label_names
from medkit.errors import ExitCode, UsageError
from medkit.inference.evaluation_files import Inputs, write_evaluation
from medkit.inference.scoring import Failure, Scores, Scoring
from medkit.metrics.paired import Interval, paired_interval
from medkit.metrics.segmentation import AGREEMENT, SURFACE_TOLERANCE_MM
from medkit.metrics.summary import Statistic, summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["EvaluationSummary", "LabelSummary", "PairedDifference", "WorstCase", "evaluate"]


@dataclass(frozen=True)
class PairedDifference:
    """Predictions minus the other ones, over the cases where both scores are finite.

    Args:
        n: number of such cases.
        n_left_out: cases scored for both, but where a score is undefined or infinite.
        interval: mean difference with its bootstrap interval.
    """

    n: int
    n_left_out: int
    interval: Interval


@dataclass(frozen=True)
class LabelSummary:
    """One label over all cases, by metric.

    Args:
        label: value in the label maps.
        name: what it is called.
        predictions: their scores.
        against: scores of the other predictions; empty without any.
        paired: difference between the two; empty without any.
    """

    label: int
    name: str
    predictions: dict[str, Statistic]
    against: dict[str, Statistic] = field(default_factory=dict)
    paired: dict[str, PairedDifference] = field(default_factory=dict)


@dataclass(frozen=True)
class WorstCase:
    """A case with a low mean Dice.

    Args:
        case: its name.
        mean_dice: over its labels, where defined.
        picture: file in the output folder, once drawn.
        reason: why the picture or the image in it is missing.
    """

    case: str
    mean_dice: float
    picture: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class EvaluationSummary:
    """What an evaluation found.

    Args:
        scores: of the predictions, by case and label value.
        against: of the other predictions; empty without any.
        labels: over all cases.
        failures: what could not be scored, and why.
        without_truth: predictions that no reference belongs to.
        without_prediction: references that were left out, as was asked, for they have no prediction.
        unnamed: labels found but not named, and so not scored, with the number of comparisons they occur in.
        worst: the cases with the lowest mean Dice, the lowest first.
        hashes: SHA-256 of each case's files, by source.
        seconds: time spent on reading and scoring.
    """

    scores: Scores
    against: Scores
    labels: tuple[LabelSummary, ...]
    failures: tuple[Failure, ...]
    without_truth: tuple[str, ...]
    without_prediction: tuple[str, ...]
    unnamed: dict[int, int]
    worst: tuple[WorstCase, ...]
    hashes: dict[str, dict[str, str | None]]
    seconds: float

    @property
    def size_unknown(self) -> tuple[str, ...]:
        """Cases whose voxel size is unknown, so that only their Dice is scored."""
        return tuple(case for case, row in self.scores.items() if not all(s.size_known for s in row.values()))

    @property
    def exit_code(self) -> ExitCode:
        """How the command ends."""
        if not self.scores:
            return ExitCode.NONE_SUCCEEDED
        return ExitCode.SOME_FAILED if self.failures else ExitCode.DONE


def evaluate(
    predictions: Path,
    truth: Path,
    output: Path,
    *,
    against: Path | None = None,
    names: Mapping[int, str] | Path | None = None,
    groups: Path | None = None,
    images: Path | None = None,
    worst: int = 5,
    predicted_only: bool = False,
    surface_tolerance_mm: float = SURFACE_TOLERANCE_MM,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> EvaluationSummary:
    """Score the prediction of every reference label map.

    Cases are matched by path relative to their folder, suffix aside; a folder that holds ``labels/`` stands
    for that one, so that a results folder of ``medkit predict`` can be named as it is. A reference without a
    prediction is a failed case, and means say over how many cases they are. Both must lie on one grid.

    ``output`` receives ``scores.csv`` (a row a case and label), ``summary.json``, pictures of the worst cases
    in ``worst/`` and, with ``against``, ``paired.csv``; what an earlier evaluation left there is replaced.

    Args:
        predictions: folder of label maps, or one file.
        truth: folder of reference label maps, or one file.
        output: folder for the results.
        against: label maps of another method for the same cases.
        names: label value to name, or a JSON file of them (:func:`medkit.data.label_names.read_label_names`);
            only these are scored. Left out, they come from the label table of the first prediction or
            reference that has one, and failing that every label found is scored.
        groups: CSV file with the columns ``case`` and ``group``, for cases that are not independent (two
            sides of one scan); paired intervals are then over groups.
        images: folder of the images, to draw the worst cases over.
        worst: number of cases to draw.
        predicted_only: leave references without a prediction out, and list them, in the place of failed cases.
        surface_tolerance_mm: see :func:`medkit.metrics.segmentation.score_case`.
        progress: called with the number of cases done and the number of all.

    Returns:
        What ``summary.json`` says too.

    Raises:
        UsageError: a folder is empty or missing, no prediction has a reference, names or groups cannot be
            read, a case has no group, or ``output`` is a file.
    """
    start = time.perf_counter()
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output}: expected a folder for the results, got a file; name another")
    folders = {"predictions": predictions} | ({} if against is None else {"against": against})
    references = _files_by_case(truth, "labels")
    found = {source: _match(folder, truth, references) for source, folder in folders.items()}
    pictured = {} if images is None else _files_by_case(images, "images")
    left_out = (
        tuple(case for case in references if case not in found["predictions"]) if predicted_only else ()
    )
    references = {case: path for case, path in references.items() if case not in left_out}
    grouping = {} if groups is None else _read_groups(groups, references)
    named = _label_names(names, [*found["predictions"].values(), *references.values()])
    scoring = Scoring(named, surface_tolerance_mm, {source: {} for source in folders})
    for number, (case, path) in enumerate(references.items(), 1):
        scoring.add_case(case, path, {source: maps.get(case) for source, maps in found.items()})
        progress(number, len(references))
    scoring.fill_absent_labels()
    inputs = Inputs({"truth": truth, **folders}, found["predictions"], references, pictured, grouping)
    summary = _summarise(scoring, inputs, worst, left_out, start)
    return write_evaluation(summary, output, inputs, surface_tolerance_mm)


def _files_by_case(path: Path, usual: str) -> dict[str, Path]:
    """Image files by case name; the subfolder with the ``usual`` name stands in for its parent."""
    inner = path / usual
    return {case.name: case.paths[0] for case in find_cases([inner if inner.is_dir() else path])}


def _match(path: Path, truth: Path, references: Mapping[str, Path]) -> dict[str, Path]:
    found = _files_by_case(path, "labels")
    if path.is_file() and truth.is_file() and len(found) == len(references) == 1:
        return dict(zip(references, found.values(), strict=True))  # a pair, whatever the files are called
    if not found.keys() & references.keys():
        raise UsageError(
            f"{path}: expected label maps named as those in {truth}, such as '{next(iter(references))}', "
            f"got none, but '{next(iter(found))}'; give both the same names, suffix aside"
        )
    return found


def _label_names(names: Mapping[int, str] | Path | None, files: Iterable[Path]) -> Mapping[int, str]:
    if isinstance(names, Path):
        return read_label_names(names)
    return names or next((table for path in files if (table := label_table(path))), {})


def _read_groups(path: Path, cases: Iterable[str]) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            groups = {row["case"]: row["group"] for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, KeyError, csv.Error) as error:
        raise UsageError(
            f"{path}: expected a CSV file with the columns 'case' and 'group', got one that cannot be read "
            f"as such ({error!r}); write one row a case"
        ) from error
    if missing := [case for case in cases if not groups.get(case)]:
        raise UsageError(
            f"{path}: expected a group for every case, got none for {len(missing)} of them, such as "
            f"'{missing[0]}'; add a row for each"
        )
    return groups


def _summarise(
    scoring: Scoring, inputs: Inputs, worst: int, left_out: tuple[str, ...], start: float
) -> EvaluationSummary:
    scores, others = scoring.scores["predictions"], scoring.scores.get("against", {})
    return EvaluationSummary(
        scores=scores,
        against=others,
        labels=_summarise_labels(scores, others, inputs.groups),
        failures=tuple(scoring.failures),
        without_truth=tuple(sorted(inputs.predictions.keys() - inputs.references.keys())),
        without_prediction=left_out,
        unnamed=dict(sorted(scoring.unnamed.items())),
        worst=_worst_cases(scores, worst),
        hashes=scoring.hashes,
        seconds=round(time.perf_counter() - start, 3),
    )


def _worst_cases(scores: Scores, number: int) -> tuple[WorstCase, ...]:
    ranked = []
    for case, row in scores.items():
        defined = [score.dice for score in row.values() if not math.isnan(score.dice)]
        if defined:
            ranked.append((sum(defined) / len(defined), case))
    return tuple(WorstCase(case, mean) for mean, case in sorted(ranked)[:number])


def _summarise_labels(scores: Scores, others: Scores, groups: Mapping[str, str]) -> tuple[LabelSummary, ...]:
    names = {score.label: score.name for row in (scores | others).values() for score in row.values()}
    summaries = []
    for label, name in sorted(names.items()):
        own, other = (
            {metric: _values(table, label, metric) for metric in AGREEMENT} for table in (scores, others)
        )
        summary = LabelSummary(label, name, _statistics(own))
        if others:
            paired = {metric: _pair(own[metric], other[metric], groups) for metric in AGREEMENT}
            summary = LabelSummary(label, name, summary.predictions, _statistics(other), paired)
        summaries.append(summary)
    return tuple(summaries)


def _values(scores: Scores, label: int, metric: str) -> dict[str, float]:
    return {case: getattr(row[label], metric) for case, row in scores.items()}


def _statistics(values: Mapping[str, Mapping[str, float]]) -> dict[str, Statistic]:
    return {
        metric: summarise(values[metric], higher_is_better=better) for metric, better in AGREEMENT.items()
    }


def _pair(
    values: Mapping[str, float], others: Mapping[str, float], groups: Mapping[str, str]
) -> PairedDifference:
    both = [case for case in values if case in others]
    usable = [case for case in both if math.isfinite(values[case]) and math.isfinite(others[case])]
    differences = [values[case] - others[case] for case in usable]
    interval = paired_interval(differences, groups=[groups[case] for case in usable] if groups else None)
    return PairedDifference(len(usable), len(both) - len(usable), interval)
