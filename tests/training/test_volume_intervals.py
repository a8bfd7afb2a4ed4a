"""Intervals of volumes: set by held-out cases, judged by folds that did not set them, honest where that fails."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medkit.bundle.build import bundle_sources, bundle_text, sources_root
from medkit.bundle.fragments import read_fragment
from medkit.errors import UsageError
from medkit.training.volume_intervals import LEVEL, volume_intervals

HIPPOCAMPI = ["hippocampus_segmentation_unet", "hippocampus_segmentation_mamba"]


def scans(count, bias=1.0, spread=0.1, sides=2, folds=5, seed=0):
    """Rows of scans whose two sides err alike, over folds of whole scans."""
    draw = np.random.default_rng(seed)
    rows = []
    for scan in range(count):
        error = draw.normal(0, spread)
        for side in range(sides):
            for name, manual in (("front", draw.uniform(1, 2)), ("back", draw.uniform(10, 20))):
                predicted = manual * bias * np.exp(error + draw.normal(0, spread / 4))
                case = f"case_{scan * sides + side + 1}"
                rows.append(row(case, predicted, manual, fold=scan % folds, name=name))
    return rows


def row(case, predicted, manual, *, fold=0, name="front"):
    return {"fold": fold, "case": case, "name": name, "volume_ml": predicted, "truth_volume_ml": manual}


@pytest.mark.parametrize("bias", [0.8, 1.0, 1.3])
def test_intervals_hold_as_often_as_they_say_and_make_up_for_a_bias(bias):
    found = volume_intervals(scans(400, bias), cases_per_group=2)
    assert found["level"] == LEVEL
    for interval in found["structures"].values():
        assert interval["groups"] == 400
        assert interval["low"] * bias < 1 < interval["high"] * bias
        assert interval["low"] * interval["high"] * bias**2 == pytest.approx(1, abs=0.05)
        assert interval["coverage"]["mean"] == pytest.approx(LEVEL, abs=0.04)


def test_they_hold_in_cases_that_had_no_part_in_them():
    found = volume_intervals(scans(400), cases_per_group=2)["structures"]["back"]
    new = [r["truth_volume_ml"] / r["volume_ml"] for r in scans(2000, sides=1, seed=1) if r["name"] == "back"]
    held = np.mean([found["low"] <= ratio <= found["high"] for ratio in new])
    assert held == pytest.approx(LEVEL, abs=0.04)
    assert held == pytest.approx(found["coverage"]["mean"], abs=0.04)


def test_a_case_that_lacks_a_structure():
    """A sum over structures would be of different cases."""
    rows = scans(40)
    assert [rows.pop(2)["name"], rows.pop(10)["name"]] == ["front", "back"]
    with pytest.raises(UsageError, match="a volume of every structure in every held-out case, got none of"):
        volume_intervals(rows, cases_per_group=2, sum_of_all="all")


def test_a_fold_is_judged_by_the_others():
    """One network that finds half of everything fails on its own fold, and the others are none the worse."""
    rows = [
        {**r, "volume_ml": r["volume_ml"] / 2} if r["fold"] == 4 else r for r in scans(200, sides=1, folds=20)
    ]
    coverage = volume_intervals(rows)["structures"]["front"]["coverage"]
    assert coverage["folds"][4] == 0
    assert np.mean([share for fold, share in enumerate(coverage["folds"]) if fold != 4]) > 0.85
    assert coverage["mean"] == pytest.approx(np.mean(coverage["folds"]), abs=1e-3)


def test_the_sum_of_all_has_an_interval_of_its_own():
    rows = scans(60)
    found = volume_intervals(rows, cases_per_group=2, sum_of_all="whole")
    assert list(found["structures"]) == ["front", "back", "whole"]
    assert found["sums"] == {"whole": ["front", "back"]}
    whole = {}
    for r in rows:
        predicted, manual = whole.get(r["case"], (0, 0))
        whole[r["case"]] = predicted + r["volume_ml"], manual + r["truth_volume_ml"]
    folds = {r["case"]: r["fold"] for r in rows}
    alone = [row(case, *volumes, fold=folds[case], name="whole") for case, volumes in whole.items()]
    expected = volume_intervals(alone, cases_per_group=2)["structures"]["whole"]
    assert found["structures"]["whole"] == expected


def test_two_sides_of_a_scan_are_not_two_scans():
    """The second side of 20 scans, but 16 outside of each fold: too few, whatever the number of cases."""
    found = volume_intervals(scans(20), cases_per_group=2)["structures"]["front"]
    assert found == {
        "groups": 20,
        "not_found": 0,
        "low": None,
        "high": None,
        "width_ml": None,
        "coverage": None,
        "verified_ml": None,
    }
    assert volume_intervals(scans(20))["structures"]["front"]["groups"] == 40
    assert volume_intervals(scans(24), cases_per_group=2)["structures"]["front"]["low"] is not None


def test_the_volumes_for_which_coverage_was_counted_are_kept():
    """Of those in which the structure was found; of the sum by itself."""
    rows = [*scans(60, sides=1), *(row(f"case_{n}", 0.0, 1.5, fold=n % 5) for n in (101, 102))]
    found = volume_intervals([r for r in rows if r["name"] == "front"])["structures"]["front"]
    volumes = [r["volume_ml"] for r in rows if r["name"] == "front" and r["volume_ml"] > 0]
    assert found["verified_ml"] == pytest.approx([min(volumes), max(volumes)], abs=1e-4)
    both = volume_intervals(scans(60, sides=1), sum_of_all="whole")["structures"]
    parts = [both[name]["verified_ml"] for name in ("front", "back")]
    low, high = both["whole"]["verified_ml"]
    assert sum(ends[0] for ends in parts) <= low + 1e-3
    assert high <= sum(ends[1] for ends in parts) + 1e-3


def test_cases_without_the_structure_are_left_out_and_counted():
    rows = scans(60, sides=1)
    missed = [row(f"case_{number}", 0.0, 1.5, fold=number % 5) for number in (101, 102, 103)]
    missed += [{**r, "name": "back", "volume_ml": 15.0, "truth_volume_ml": 15.0} for r in missed]
    with_missed = volume_intervals([*rows, *missed])["structures"]["front"]
    without = volume_intervals(rows)["structures"]["front"]
    assert with_missed == {**without, "not_found": 3}


def test_what_is_not_there_and_found_all_the_same_lowers_the_interval_to_nothing():
    rows = [{**r, "truth_volume_ml": 0.0} if r["case"] in ("case_1", "case_2", "case_3", "case_4", "case_5") else r
            for r in scans(60, sides=1)]  # fmt: skip
    found = volume_intervals(rows)["structures"]["front"]
    assert found["low"] == 0
    assert found["high"] > 1


def test_volumes_that_are_not_known_have_no_interval():
    rows = scans(60)
    assert volume_intervals([*rows[1:], {**rows[0], "truth_volume_ml": None}]) is None
    assert volume_intervals([{**r, "volume_ml": None, "truth_volume_ml": None} for r in rows]) is None


def test_a_group_in_two_folds_is_refused():
    rows = [row("case_1", 1.0, 1.0, fold=0), row("case_2", 1.0, 1.0, fold=1)]
    with pytest.raises(UsageError, match="expected all cases of a group in one fold, got those of case_1"):
        volume_intervals(rows, cases_per_group=2)
    assert volume_intervals(rows)["structures"]["front"]["groups"] == 2


def test_a_sum_with_the_name_of_a_structure_is_refused():
    with pytest.raises(UsageError, match=r"expected a name for the sum .* got 'back'; change 'sum_of_all'"):
        volume_intervals(scans(30), sum_of_all="back")


@pytest.mark.parametrize("name", HIPPOCAMPI)
def test_the_records_of_our_bundles_have_what_their_scores_give(name):
    record = json.loads((sources_root() / name / "record.json").read_text())
    options = read_fragment(sources_root() / name / "metadata.yaml")["volume_intervals"]
    found = volume_intervals(record["cross_validation"]["scores"], **options)
    assert found == record["volume_intervals"]
    assert list(found["structures"]) == ["anterior hippocampus", "posterior hippocampus", "whole hippocampus"]
    for interval in found["structures"].values():
        assert interval["groups"] == 126
        assert 0 < interval["verified_ml"][0] < interval["verified_ml"][1] < 10
        assert interval["coverage"]["mean"] == pytest.approx(LEVEL, abs=0.03)


@pytest.mark.parametrize(
    "source",
    [source for source in bundle_sources() if (source / "record.json").is_file()],
    ids=lambda source: source.name,
)
def test_the_card_tells_of_intervals_where_there_are_any(source):
    record = json.loads((source / "record.json").read_text())
    card = bundle_text(source)["docs/README.md"]
    assert ("Its volumes come with an interval" in card) == ("volume_intervals" in record)
    for name, found in record.get("volume_intervals", {"structures": {}})["structures"].items():
        (line,) = (line for line in card.splitlines() if line.startswith(f"| {name} | {found['groups']} |"))
        assert f"| {found['coverage']['mean']:.3f} |" in line
        assert f"| {found['verified_ml'][0]:.2f} to {found['verified_ml'][1]:.2f} |" in line


def test_the_card_says_where_cases_were_too_few():
    source = sources_root() / HIPPOCAMPI[0]
    record = json.loads((source / "record.json").read_text())
    record["volume_intervals"] = volume_intervals(scans(20), cases_per_group=2)
    assert (
        "| front | 20 | too few: 19 outside of every fold are needed |"
        in bundle_text(source, record)["docs/README.md"]
    )
