"""Tables and aims from results whose means are known."""

from __future__ import annotations

import json

import pytest
from brain_anatomy_tables import aims, card_text, document, metrics

NAMES = ("left hippocampus", "right hippocampus")


def rows(case, *dices):
    return [
        {"case": case, "name": name, "dice": dice, "surface_dice": dice, "hd95_mm": 1.0 if dice else "inf"}
        for name, dice in zip(NAMES, dices, strict=True)
    ]


def whole(seconds=20.0):
    agreement = {"refused": None, "dice": {NAMES[0]: 0.9, NAMES[1]: 0.8}, "volumes": 0.1}
    sides = {"swapped": False, "wrong_side": 0.01}
    return {
        "synthetic": {
            json.dumps(["map_1", "T2", 1.0]): {"rows": rows("map_1", 0.9, 0.8)},
            json.dumps(["map_2", "T2", 1.0]): {"rows": rows("map_2", 1.0, 0.9)},
            json.dumps(["map_1", "T2", 5.0]): {"rows": rows("map_1", 0.8, 0.86)},
        },
        "real": {
            "MNI152": {"rows": None, "sides": sides, "refused": None, "volumes": {NAMES[0]: 3.0, NAMES[1]: 3.03}},
            "IXI1": {"rows": rows("IXI1", 0.7, 0.8), "sides": sides, "refused": None, "volumes": {}},
        },
        "contrasts": {
            "anna": {"refused": {"T1": None, "T2": None}, "pairs": {"T1 and T2": agreement}},
            "berta": {"refused": {"T1": "not-recognised", "T2": None}, "pairs": {}},
        },
        "mirrored": {"MNI152": agreement},
        "repeated": {"MNI152: noise": {"refused": "not-recognised"}},
        "no brain": {
            "CT": {"refused": "not-recognised", "ml": None},
            "spine": {"refused": None, "ml": 12.0},
        },
        "speed": {"4": {"seconds": seconds, "memory": 3.0, "steps": {"inference": 9.0}}},
    }  # fmt: skip


def verdicts(found):
    return {aim.what: aim.met for aim in aims(found, 2.2)}


def test_aims():
    found = {aim.what: aim for aim in aims(whole(), 2.2)}
    assert found["mean Dice, held-out synthetic heads at 1 mm"].measured == "0.900"
    assert found["less of it with slices of 5 mm"].measured == "0.070"
    assert found["less of it with slices of 5 mm"].met is False
    silver = found["mean Dice, IXI T1 against DLMUSE, without fine-tuning"]
    assert (silver.measured, silver.met) == ("0.750", False)
    assert found["mean Dice, T1, T2 and FLAIR of anna"].met is True
    assert found["mean Dice, T1, T2 and FLAIR of berta"].met is False
    assert found["difference of the hippocampi of the symmetric MNI152 template"].met is True
    assert found["seconds a head on a GPU"].met is None
    assert found["megabytes of weights"].met is True


def test_slower_than_the_aim():
    name = "seconds a head, file to file, four threads"
    assert verdicts(whole())[name] is True
    assert verdicts(whole(seconds=26.0))[name] is False


@pytest.mark.parametrize("volumes", [None, dict.fromkeys(NAMES, 0.0), {NAMES[0]: 3.0, NAMES[1]: 0.0}])
def test_a_template_without_hippocampi_is_not_symmetric(volumes):
    found = whole()
    found["real"]["MNI152"]["volumes"] = volumes
    assert verdicts(found)["difference of the hippocampi of the symmetric MNI152 template"] is False


@pytest.mark.parametrize("swapped", [True, None])
def test_one_swapped_or_missing_hippocampus_is_one_too_many(swapped):
    found = whole()
    assert verdicts(found)["hippocampi on the wrong sides"] is True
    found["real"]["IXI1"]["sides"] = {"swapped": swapped, "wrong_side": None}
    assert verdicts(found)["hippocampi on the wrong sides"] is False


def test_the_document_has_it_all():
    text = document(whole(), 2.2, "a machine")
    assert "| T2 | 0.900 | 0.830 |" in text
    assert "| left hippocampus | 2 | 0.950 ± 0.071 | 0.900 (map_1, T2) |" in text
    assert "1 healthy adults" in text
    assert "imitation" in text
    assert "| berta: T1 | refused (not-recognised) | - | - |" in text
    assert "| anna: T1 and T2 | 0.850 | 0.800 (right hippocampus) | 10.0% |" in text
    assert "| spine | 12 ml labelled |" in text
    assert "left hippocampus 3.00 ml, right 3.03 ml, 1.0% apart" in text
    assert "| 4 threads | 20.0 | 3.00 | inference 9.0 |" in text


def test_the_card_has_headings_below_its_own():
    headings = [line for line in card_text(whole(), 2.2, "![a](a.png)").splitlines() if line.startswith("#")]
    assert headings
    assert all(line.startswith("### ") for line in headings)


def test_metrics_are_numbers():
    found = metrics(whole())
    assert found["mean_dice_synthetic_1_mm"] == 0.9
    assert found["mean_dice_ixi_t1_silver_standard"] == 0.75
    assert found["heads_with_hippocampi_swapped"] == 0
    assert all(isinstance(value, float) for value in found.values())
