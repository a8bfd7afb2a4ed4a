"""Rows with and without fine-tuning: from the records of folds that held a case out, and only of the right run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from brain_anatomy_fine_tuning import MEAN, aims, fold_records, held_out_of, table

from medkit.errors import UsageError
from medkit.training.run import TrainingRun

WEIGHTS = "a" * 64


def record(fold: int, cases: list[str], weights: str = WEIGHTS) -> dict:
    return {"fold": fold, "test_cases": cases, "settings": {"initial_weights": weights}}


def run(tmp_path: Path, records: dict[int, dict], training: str = "fine_tuning") -> TrainingRun:
    for fold, content in records.items():
        (tmp_path / f"fold{fold}").mkdir()
        (tmp_path / f"fold{fold}" / "record.json").write_text(json.dumps(content))
    return TrainingRun(tmp_path, {}, (0, 1, None), "sqlite:///none", training=training)


def rows(text: str) -> dict[str, list[str]]:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    return {name: cells for name, *cells in lines}


def test_each_case_is_of_the_finished_fold_that_held_it_out(tmp_path):
    finished = run(tmp_path, {0: record(0, ["one"]), 1: record(1, ["two", "three"])})
    assert held_out_of(fold_records(finished, WEIGHTS)) == {"one": 0, "two": 1, "three": 1}


@pytest.mark.parametrize(
    ("records", "training", "message"),
    [
        ({}, "fine_tuning", "expected a fold that is finished, got none"),
        ({0: record(0, [])}, "train", "expected a run of fine_tuning, got one of train"),
        (
            {0: record(0, []), 1: record(1, [], "b" * 64)},
            "fine_tuning",
            r"bundle's weights \(aaaaaaaaaaaa\), got others \(bbb",
        ),
    ],
)
def test_runs_that_tell_nothing_of_this_bundle_are_refused(tmp_path, records, training, message):
    with pytest.raises(UsageError, match=message):
        fold_records(run(tmp_path, records, training), WEIGHTS)


def test_a_row_has_both_means_worst_cases_and_the_gain():
    before = {"one": {"stem": 0.6, "fornix": 0.5}, "two": {"stem": 0.8, "fornix": None}}
    after = {"one": {"stem": 0.7, "fornix": 0.9}, "two": {"stem": 0.9, "fornix": None}}
    found = rows(table(before, after))
    assert found["stem"] == [
        "2",
        "0.700 ± 0.141",
        "0.600",
        "0.800 ± 0.141",
        "0.700",
        "+0.100 (0.100 to 0.100)",
    ]
    assert found["fornix"][:5] == ["1", "0.500 ± nan", "0.500", "0.900 ± nan", "0.900"]
    assert found[MEAN][:4] == ["2", "0.675 ± 0.177", "0.550", "0.850 ± 0.071"]


def test_aims_are_met_or_not():
    low, high = {"one": {"stem": 0.79}}, {"one": {"stem": 0.87}}
    assert [cells[-1] for cells in rows(aims(low, high)).values()] == ["not met", "met"]
