"""Scores of cases in one table: mean, spread and worst case of each measure, as records keep them."""

from __future__ import annotations

import math
from dataclasses import asdict
from statistics import fmean
from typing import TYPE_CHECKING, Any

from medkit.metrics.segmentation import AGREEMENT
from medkit.metrics.summary import summarise

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MEAN_OVER_LABELS", "stored", "summarise_scores"]

MEAN_OVER_LABELS = "mean over labels"


def summarise_scores(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean, spread, number and worst case of each measure, by label and over labels.

    Args:
        rows: ``case``, ``name`` and the measures of :class:`medkit.metrics.segmentation.LabelScore`; one that is
            undefined (the label is in neither map) is ``None`` and left out, an infinite one is the word "inf".
    """
    tables: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        tables.setdefault(row["name"], {})[row["case"]] = {m: _number(row[m]) for m in AGREEMENT}
    cases = dict.fromkeys(row["case"] for row in rows)
    labels = list(tables.values())
    tables[MEAN_OVER_LABELS] = {
        case: {m: _mean_of_defined([table[case][m] for table in labels]) for m in AGREEMENT} for case in cases
    }
    return {name: {m: _statistic(m, table) for m in AGREEMENT} for name, table in tables.items()}


def _number(value: float | str | None) -> float:
    return math.nan if value is None else float(value)


def _mean_of_defined(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return fmean(defined) if defined else math.nan


def _statistic(measure: str, table: dict[str, dict[str, float]]) -> dict[str, Any]:
    values = {case: scores[measure] for case, scores in table.items()}
    statistic = asdict(summarise(values, higher_is_better=AGREEMENT[measure]))
    return {key: stored(value) for key, value in statistic.items()}


def stored(value: Any) -> Any:
    """A number as a record keeps it: four decimals, ``None`` for what is undefined, "inf" for the infinite."""
    if not isinstance(value, float):
        return value
    if math.isfinite(value):
        return round(value, 4)
    return None if math.isnan(value) else str(value)
