"""Rows of the tables from the rows of a run's record."""

from __future__ import annotations

from segmenters_networks import LARGER
from segmenters_tables import COST, cost_table, mean_dice, measure_table, score_table, twin_table
from segmenters_twins import Run


def record(dice, hd95=1.0):
    return [
        {
            "case": f"hippocampus_{number:03d}",
            "name": name,
            "dice": value,
            "surface_dice": 0.9,
            "hd95_mm": hd95,
        }
        for number, value in dice.items()
        for name in ("anterior", "posterior")
    ]


def cells(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_scores_over_runs_with_the_worst_case():
    scores = {
        "unet": {(0, 1): record({3: 0.9, 5: 0.5}), (0, 2): record({3: 0.8, 5: 0.6}), (1, 1): record({7: 0.0})}
    }
    ((name, runs, voxels, cases, dice, sd, seeds, *_, worst),) = cells(
        score_table(scores, {"unet": 5_000_000}, [0], [1, 2])
    )
    assert (name, runs, voxels, cases, dice) == ("unet", "2", "5", "2", "0.7000")
    assert sd == f"{0.3 / 2**0.5:.4f}"  # of 0.85 and 0.55, each the mean of two seeds
    assert seeds == "0.7000, 0.7000"
    assert worst == "0.500 (hippocampus_005, seed 1)"


def test_labels_that_were_missed_are_counted():
    scores = {"unet": {(0, 1): [*record({3: 0.9}), *record({5: 0.0}, hd95="inf")]}}
    assert cells(score_table(scores, {"unet": 0}, [0], [1]))[0][8] == "1.00 (1 of 2 infinite)"


def test_twins_are_compared_where_both_were_run():
    cases = range(1, 21, 2)
    ours, others = ({(0, seed): record(dict.fromkeys(cases, dice)) for seed in (1, 2)} for dice in (0.9, 0.8))
    scores = {"scan_unet": ours, "scan_unet, no scan": others, "segmamba": ours, "segmamba, no scan": {}}
    rows = cells(twin_table({label: runs for label, runs in scores.items() if runs}))
    interval, seeds = "+0.1000 to +0.1000", "+0.1000, +0.1000"
    assert rows == [
        ["scan_unet minus scan_unet, no scan", "1", "10", "+0.1000", interval, seeds, "better"],
    ]


def test_all_but_twins_without_scan_are_compared_with_the_measure():
    runs = {(0, seed): record(dict.fromkeys(range(1, 21, 2), 0.8)) for seed in (1, 2)}
    rows = cells(measure_table(dict.fromkeys(["unet", "segmamba", "segmamba, no scan", "dynunet"], runs)))
    assert [(row[0], row[-1]) for row in rows] == [
        ("unet minus dynunet", "equivalent"),
        ("segmamba minus dynunet", "equivalent"),
    ]


def test_dice_over_the_labels_that_a_case_has():
    rows = record({3: 0.9})
    rows[1]["dice"] = None
    assert mean_dice({(0, 1): rows}) == {Run("hippocampus_003", 0, 1): 0.9}


def test_costs_beside_those_of_the_u_net():
    cost = {
        "parameters": 200, "operations": 4e9, "operations_of_scans": 1e9, "peak_bytes": 2**21,
        "steps_per_second": 2.0, "voxels_per_second": 3e6
    }  # fmt: skip
    rows = cells(
        cost_table({"dynunet": {**cost, "parameters": 100, "operations_of_scans": 0}, "scan_unet": cost})
    )
    assert rows[1] == ["scan_unet", "200", "+100.0%", "4.00", "25.0%", "2", "2.00", "3.00"]


def test_a_network_that_is_larger_has_its_reason_beside_the_table():
    assert LARGER
    assert all(f"{label} does not come any smaller: {why}." in COST for label, why in LARGER.items())


def test_one_seed_is_given_as_the_reason_for_no_verdict():
    ours, others = ({(0, 1): record(dict.fromkeys(range(1, 41, 2), dice))} for dice in (0.9, 0.5))
    ((*_, interval, _, found),) = cells(twin_table({"scan_unet": ours, "scan_unet, no scan": others}))
    assert (interval, found) == ("+0.4000 to +0.4000", "none: fewer than 2 seeds")
