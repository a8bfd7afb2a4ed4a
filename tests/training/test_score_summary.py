import json

import pytest

from medkit.training.score_summary import summarise_scores


def row(case: str, name: str, dice: float | None, hd95: float | str | None = 1.0) -> dict[str, object]:
    return {"case": case, "name": name, "dice": dice, "surface_dice": dice, "hd95_mm": hd95}


def test_summary_has_mean_spread_number_and_worst_case_by_label_and_over_labels():
    rows = [row("a", "front", 0.9), row("a", "back", 0.7), row("b", "front", 0.8), row("b", "back", 0.8)]
    summary = summarise_scores(rows)
    assert list(summary) == ["front", "back", "mean over labels"]
    assert summary["front"]["dice"]["mean"] == pytest.approx(0.85)
    assert summary["front"]["dice"]["sd"] == pytest.approx(0.0707, abs=1e-4)
    assert summary["front"]["dice"]["n"] == 2
    assert (summary["back"]["dice"]["worst"], summary["back"]["dice"]["worst_case"]) == (0.7, "a")
    assert summary["mean over labels"]["dice"]["mean"] == pytest.approx(0.8)


def test_missed_structure_is_the_worst_and_stays_valid_json():
    summary = summarise_scores([row("a", "front", 0.0, "inf"), row("b", "front", 0.9, 2.0)])
    distance = summary["front"]["hd95_mm"]
    assert (distance["n_infinite"], distance["worst"], distance["worst_case"]) == (1, "inf", "a")
    assert distance["mean"] == 2.0
    json.loads(json.dumps(summary, allow_nan=False))


def test_structure_that_is_in_neither_map_is_left_out():
    rows = [
        row("a", "front", None, None),
        row("a", "back", 0.8),
        row("b", "front", 0.9),
        row("b", "back", 0.6),
    ]
    summary = summarise_scores(rows)
    assert (summary["front"]["dice"]["n"], summary["front"]["dice"]["mean"]) == (1, 0.9)
    assert summary["front"]["hd95_mm"]["n"] == 1
    assert summary["mean over labels"]["dice"]["mean"] == pytest.approx((0.8 + 0.75) / 2)
