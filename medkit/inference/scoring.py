"""Score the label maps of single cases, keeping what fails apart from what does not."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from medkit.data.archives import LABEL_ARRAY
from medkit.data.checks import check_same_grid
from medkit.data.hashing import hash_image
from medkit.data.label_map import as_label_map
from medkit.data.reading import read_volume
from medkit.errors import CaseError
from medkit.metrics.segmentation import LabelScore, score_case

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from medkit.data.volume import Volume

__all__ = ["Failure", "Scores", "Scoring", "read_label_map"]

Scores = dict[str, dict[int, LabelScore]]
"""Case to label value to score."""


@dataclass(frozen=True)
class Failure:
    """A case that could not be scored.

    Args:
        case: its name.
        source: which label map is at fault: ``predictions``, ``against`` or ``truth``.
        code: see :class:`medkit.errors.CaseError`.
        reason: one line for a person.
    """

    case: str
    source: str
    code: str
    reason: str


@dataclass
class Scoring:
    """Scores as they come in, and what went wrong.

    Args:
        names: label value to name; only these are scored, or all that are found when it is empty.
        surface_tolerance_mm: see :func:`medkit.metrics.segmentation.score_case`.
        scores: by the source of the predictions.
        failures: in the order of the cases.
        unnamed: label values found but not in ``names``, with the number of comparisons they occur in.
        hashes: of each case's label maps, by source; see :func:`medkit.data.hashing.hash_image`.
    """

    names: Mapping[int, str]
    surface_tolerance_mm: float
    scores: dict[str, Scores]
    failures: list[Failure] = field(default_factory=list)
    unnamed: Counter[int] = field(default_factory=Counter)
    hashes: dict[str, dict[str, str | None]] = field(default_factory=dict)

    def add_case(self, case: str, truth_path: Path, paths: Mapping[str, Path | None]) -> None:
        """Score one case.

        Args:
            case: its name.
            truth_path: reference label map.
            paths: source to predicted label map; ``None`` where it has none.
        """
        given = {source: path for source, path in paths.items() if path is not None}
        self.hashes[case] = {
            source: hash_image(path) for source, path in {"truth": truth_path, **given}.items()
        }
        try:
            truth = read_label_map(truth_path)
        except CaseError as error:
            self.failures.append(Failure(case, "truth", error.code, str(error)))
            return
        for source, path in paths.items():
            try:
                self.scores[source][case] = self._score(case, path, truth)
            except CaseError as error:
                self.failures.append(Failure(case, source, error.code, str(error)))

    def _score(self, case: str, path: Path | None, truth: Volume) -> dict[int, LabelScore]:
        if path is None:
            raise CaseError(
                "prediction-missing",
                f"{case}: expected a prediction of this name for {truth.name}, got none; "
                "predict the case, or take its reference out",
            )
        prediction = read_label_map(path)
        check_same_grid(prediction.grid, prediction.name, truth.grid, truth.name)
        found = {int(value) for labels in (prediction, truth) for value in np.unique(labels.array)} - {0}
        names = self.names or {value: f"label {value}" for value in found}
        self.unnamed.update(found - set(names))
        scores = score_case(
            prediction.array,
            truth.array,
            truth.grid.spacing_mm if prediction.grid.size_known else None,
            names,
            voxel_volume_ml=truth.grid.voxel_volume_ml,
            surface_tolerance_mm=self.surface_tolerance_mm,
        )
        return {score.label: score for score in scores}

    def fill_absent_labels(self) -> None:
        """Give every case a row for every label that any case has: undefined, with no volume."""
        cases = [row for table in self.scores.values() for row in table.values()]
        names = {score.label: score.name for row in cases for score in row.values()}
        for row in cases:
            nothing = 0.0 if all(score.size_known for score in row.values()) else math.nan
            undefined = (math.nan, math.nan, math.nan, nothing, nothing)
            for label, name in names.items():
                row.setdefault(label, LabelScore(label, name, *undefined))


def read_label_map(path: Path) -> Volume:
    """Read a label map into the smallest unsigned integers that hold it.

    Raises:
        CaseError: ``labels-not-3d``, ``labels-not-integer``, or what :func:`medkit.data.read_volume` raises.
    """
    volume = read_volume(path, (LABEL_ARRAY,))
    array = volume.array
    if array.ndim != 3:
        raise CaseError(
            "labels-not-3d",
            f"{path}: expected one label map (I, J, K), got shape {array.shape}; "
            "merge its masks into one map",
        )
    try:
        return replace(volume, array=as_label_map(array))
    except ValueError as error:
        raise CaseError(
            "labels-not-integer",
            f"{path}: expected whole numbers from 0 as labels, got {error}; "
            "take the argmax of probabilities, and resample label maps with nearest neighbours",
        ) from error
