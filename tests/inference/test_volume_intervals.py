"""Intervals of volumes in results: of the bundle's own network alone, and unknown where nothing can be said."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import asdict, replace
from importlib.resources import files

import nibabel as nib
import numpy as np
import pytest
from jsonschema import Draft202012Validator

import medkit
from medkit.data import find_cases
from medkit.inference.run import RunOptions, predict_cases
from medkit.inference.volume_intervals import VolumeInterval, VolumeIntervals, stated_intervals
from medkit.metrics.conformal import Bounds
from tests.phantoms import PLAIN, hippocampus, nifti
from tests.tiny_bundle import edit_json

IMAGE, _ = hippocampus(affine=PLAIN)
FRONT, BACK, WHOLE = "anterior hippocampus", "posterior hippocampus", "whole hippocampus"
STATED = {
    "level": 0.9,
    "sums": {WHOLE: [FRONT, BACK]},
    "structures": {
        FRONT: {"low": 0.8, "high": 1.25, "verified_ml": [0.001, 1000]},
        BACK: {"low": 0.6, "high": 1.4, "verified_ml": [0.001, 1000]},
        WHOLE: {"low": 0.5, "high": 1.5, "verified_ml": [0.002, 2000]},
    },
}


def stated(**ranges: list[float] | None) -> VolumeIntervals:
    """What metadata state, with other volumes that they were verified for."""
    rows = {name: dict(row) for name, row in STATED["structures"].items()}
    for name, ends in ranges.items():
        row = rows[{"front": FRONT, "back": BACK, "whole": WHOLE}[name]]
        row.update({"verified_ml": ends} if ends else {"low": None, "high": None, "verified_ml": None})
    found = stated_intervals({"volume_intervals": {**STATED, "structures": rows}})
    assert found is not None
    return found


@pytest.fixture(scope="module")
def verified_root(tiny_root, tmp_path_factory):
    root = shutil.copytree(tiny_root, tmp_path_factory.mktemp("verified") / "bundle")
    edit_json(root / "configs" / "metadata.json", lambda metadata: metadata.update(volume_intervals=STATED))
    return root


@pytest.fixture(scope="module")
def verified(verified_root):
    return medkit.load(verified_root)


def test_a_result_has_the_intervals_of_its_volumes(verified, tiny):
    result, plain = verified.predict(IMAGE, PLAIN), tiny.predict(IMAGE, PLAIN)
    assert np.array_equal(result.labels, plain.labels)
    assert result.notes == plain.notes
    assert plain.volume_interval_ml is None
    front, whole = result.volumes_ml[FRONT], sum(result.volumes_ml.values())
    assert min(result.volumes_ml.values()) > 0
    found = result.volume_interval_ml
    assert list(found) == [FRONT, BACK, WHOLE]
    assert found[FRONT] == VolumeInterval(0.9, front, front * 0.8, front * 1.25)
    back = result.volumes_ml[BACK]
    assert found[BACK] == VolumeInterval(0.9, back, back * 0.6, back * 1.4)
    assert asdict(found[WHOLE]) == pytest.approx(asdict(VolumeInterval(0.9, whole, whole / 2, whole * 1.5)))


@pytest.mark.parametrize(
    ("differs", "why"),
    [
        ({"flips": "LR"}, "mirror images are averaged"),
        ({"weights": ["model.pt"]}, "other weights are loaded"),
        ({"overrides": {"inferer::overlap": 0.25}}, r"its config is changed \(inferer::overlap\)"),
        (
            {"flips": "LR", "overrides": {"inferer::overlap": 0.25}},
            "mirror images are averaged and its config",
        ),
    ],
    ids=["flips", "weights", "overrides", "both"],
)
def test_what_the_intervals_were_not_verified_for_has_none(verified_root, differs, why):
    if "weights" in differs:
        differs = {"weights": [verified_root / "models" / name for name in differs["weights"]]}
    result = medkit.load(verified_root, **differs).predict(IMAGE, PLAIN)
    assert result.volume_interval_ml is None
    assert result.volumes_ml[FRONT] > 0
    (note,) = (note for note in result.notes if note.startswith("volumes have no interval"))
    assert re.search(why, note)


def test_an_image_of_more_than_the_bundle_is_made_for_has_none(verified_root, tmp_path):
    root = shutil.copytree(verified_root, tmp_path / "bundle")
    edit_json(root / "configs" / "metadata.json", lambda metadata: metadata.update(largest_field_mm=5))
    result = medkit.load(root).predict(IMAGE, PLAIN)
    assert result.volume_interval_ml is None
    assert any(note.endswith("the image shows more than it was made for") for note in result.notes)


def test_where_the_voxel_size_is_unknown_so_are_intervals(verified):
    result = verified.predict(IMAGE, PLAIN)
    found = replace(result, grid=replace(result.grid, size_known=False)).volume_interval_ml
    assert list(found) == [FRONT, BACK, WHOLE]
    assert {(i.volume, i.low, i.high) for i in found.values()} == {("unknown", "unknown", "unknown")}


@pytest.mark.parametrize(
    ("volume", "within"), [(0.0, False), (0.99, False), (1.0, True), (2.0, True), (2.5, True), (2.51, False)]
)
def test_an_interval_is_given_for_volumes_that_it_was_verified_for(volume, within):
    intervals, volumes = stated(front=[1.0, 2.5]), {FRONT: volume, BACK: 2.0}
    found, notes = intervals.about(volumes), intervals.notes(volumes)
    assert found[BACK] == VolumeInterval(0.9, 2.0, 1.2, 2.8)
    if within:
        assert found[FRONT] == VolumeInterval(0.9, volume, volume * 0.8, volume * 1.25)
        assert found[WHOLE].high == pytest.approx((volume + 2) * 1.5)
        assert notes == ()
        return
    assert found[FRONT] == VolumeInterval(0.9, volume, "unknown", "unknown")
    assert found[WHOLE] == VolumeInterval(0.9, volume + 2, "unknown", "unknown"), "a sum follows its parts"
    assert notes == (
        f"the volume of {FRONT} has no interval: it was verified for 1.00 to 2.50 ml, and here are {volume:.2f} ml",
        f"the volume of {WHOLE} has no interval: that of {FRONT}, a part of it, has none",
    )


def test_a_sum_has_a_range_of_its_own():
    intervals, volumes = stated(whole=[2.0, 3.0]), {FRONT: 2.0, BACK: 2.0}
    assert intervals.about(volumes)[FRONT].high == 2.5
    assert intervals.about(volumes)[WHOLE] == VolumeInterval(0.9, 4.0, "unknown", "unknown")
    (note,) = intervals.notes(volumes)
    assert (
        note
        == f"the volume of {WHOLE} has no interval: it was verified for 2.00 to 3.00 ml, and here are 4.00 ml"
    )


def test_where_cases_were_too_few_there_is_none_and_nothing_to_remark_on_but_the_sum():
    intervals, volumes = stated(back=None), {FRONT: 2.0, BACK: 2.0}
    found = intervals.about(volumes)
    assert found[FRONT].high == 2.5
    assert {found[name].low for name in (BACK, WHOLE)} == {"unknown"}
    assert intervals.notes(volumes) == (
        f"the volume of {WHOLE} has no interval: that of {BACK}, a part of it, has none",
    )


def test_metadata_that_do_not_say_for_what_they_were_verified_state_none():
    rows = {name: {"low": row["low"], "high": row["high"]} for name, row in STATED["structures"].items()}
    found = stated_intervals({"volume_intervals": {**STATED, "structures": rows}}).about(
        {FRONT: 1.0, BACK: 1.0}
    )
    assert {interval.low for interval in found.values()} == {"unknown"}


@pytest.mark.parametrize("fill", ["noise", "one bright voxel"])
def test_a_volume_that_no_case_had_is_told_in_the_notes(verified_root, tmp_path, fill):
    """What a network makes of an image of nothing has some volume all the same."""
    root = shutil.copytree(verified_root, tmp_path / "bundle")
    rows = {name: {**row, "verified_ml": [50, 60]} for name, row in STATED["structures"].items()}
    edit_json(
        root / "configs" / "metadata.json", lambda found: found["volume_intervals"].update(structures=rows)
    )
    image = np.random.default_rng(0).normal(size=IMAGE.shape) if fill == "noise" else np.zeros(IMAGE.shape)
    image[3, 3, 3] = 9
    result = medkit.load(root).predict(image, PLAIN)
    assert {interval.low for interval in result.volume_interval_ml.values()} == {"unknown"}
    told = [note for note in result.notes if "has no interval" in note]
    assert len(told) == 3
    assert "verified for 50.00 to 60.00 ml" in told[0]
    result.save(tmp_path / "out", picture=False)
    record = json.loads((tmp_path / "out" / "cases" / "image.json").read_text())
    assert told == [note for note in record["notes"] if "has no interval" in note]
    assert record["volume_interval_ml"][WHOLE]["high"] == "unknown"


def test_a_sum_is_of_its_own_parts_alone():
    sums = {"left": ["left front", "left back"], "right": ["right front", "right back"]}
    names = [*sums, *sums["left"], *sums["right"]]
    bounds, ranges = dict.fromkeys(names, Bounds(0.5, 2)), dict.fromkeys(names, (0.5, 9.0))
    found = VolumeIntervals(0.9, bounds, sums, ranges).about(
        {"left front": 1.0, "left back": 2.0, "right front": 4.0, "right back": "unknown"}
    )
    assert found["left"] == VolumeInterval(0.9, 3.0, 1.5, 6.0)
    assert found["right"] == VolumeInterval(0.9, "unknown", "unknown", "unknown")


def test_structures_that_the_result_lacks_are_left_out():
    both = {"left": Bounds(0.5, 2), "right": Bounds(0.5, 2)}
    intervals = VolumeIntervals(0.9, both, {}, dict.fromkeys(both, (0.5, 9.0)))
    assert intervals.about({"left": 1.0, "middle": 1.0}) == {"left": VolumeInterval(0.9, 1.0, 0.5, 2.0)}


@pytest.mark.parametrize(
    "metadata", [{}, {"volume_intervals": {"cases_per_group": 2}}, {"volume_intervals": "no"}]
)
def test_a_bundle_without_a_run_states_none(metadata):
    assert stated_intervals(metadata) is None


def test_record_report_and_table_have_them(verified_root, tiny, tmp_path):
    root = shutil.copytree(verified_root, tmp_path / "bundle")
    rows = {**STATED["structures"], BACK: {"low": None, "high": None, "verified_ml": None}}
    edit_json(
        root / "configs" / "metadata.json", lambda found: found["volume_intervals"].update(structures=rows)
    )
    verified = medkit.load(root)
    schema = json.loads((files("medkit") / "schemas" / "case.schema.json").read_text())
    for name, bundle in (("a", verified), ("b", tiny)):
        nib.save(nifti(IMAGE, PLAIN), tmp_path / f"{name}.nii.gz")
        cases = find_cases([tmp_path / f"{name}.nii.gz"])
        predict_cases(bundle, cases, tmp_path / "out", RunOptions(pictures=False))
    first, second = json.loads((tmp_path / "out" / "report.json").read_text())["cases"]
    for record in (first, second):
        assert not list(Draft202012Validator(schema).iter_errors(record))
    found, volume = first["volume_interval_ml"], first["volumes_ml"][FRONT]
    expected = {"level": 0.9, "volume": volume, "low": volume * 0.8, "high": volume * 1.25}
    assert volume > 0
    assert found[FRONT] == pytest.approx(expected)
    assert (found[BACK]["low"], found[BACK]["high"]) == ("unknown", "unknown")
    assert (found[WHOLE]["low"], found[WHOLE]["high"]) == ("unknown", "unknown")
    assert "volume_interval_ml" not in second
    rows = list(csv.DictReader((tmp_path / "out" / "volumes.csv").open()))
    assert float(rows[0][f"{FRONT} 90 % low (ml)"]) == pytest.approx(volume * 0.8, abs=1e-4)
    assert float(rows[0][f"{WHOLE} (ml)"]) == pytest.approx(sum(first["volumes_ml"].values()), abs=1e-4)
    assert rows[0][f"{BACK} 90 % high"] == "unknown"
    assert float(rows[1][f"{FRONT} (ml)"]) > 0
    assert rows[1][f"{FRONT} 90 % low (ml)"] == rows[1][f"{WHOLE} (ml)"] == ""


def test_schema_notices_an_interval_that_lacks_an_end(verified, tmp_path):
    schema = json.loads((files("medkit") / "schemas" / "case.schema.json").read_text())
    verified.predict(IMAGE, PLAIN).save(tmp_path, picture=False)
    record = json.loads((tmp_path / "cases" / "image.json").read_text())
    assert Draft202012Validator(schema).is_valid(record)
    del record["volume_interval_ml"][FRONT]["high"]
    assert not Draft202012Validator(schema).is_valid(record)
