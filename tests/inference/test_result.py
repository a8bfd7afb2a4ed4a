"""A result's volumes, and where it is saved."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medkit.data import Grid, Volume
from medkit.errors import UsageError
from medkit.inference.result import Result, count_labels
from tests.phantoms import OBLIQUE, hippocampus

IMAGE, LABELS = hippocampus()
SHEARED = OBLIQUE @ np.array([[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def make(labels=LABELS, names=None, affine=OBLIQUE, **more):
    grid = Grid(labels.shape[:3], affine)
    names = {1: "Anterior", 2: "Posterior"} if names is None else names
    made = {"bundle": "b", "bundle_version": "1", "bundle_digest": "d", "overrides": {}, "device": "cpu"}
    return Result(Volume(IMAGE, grid), labels, grid, names, {**made, "versions": {}}, {}, **more)


@pytest.mark.parametrize("affine", [OBLIQUE, SHEARED])
def test_volumes_in_millilitres(affine):
    millilitres = make(affine=affine).volumes_ml
    assert millilitres["Anterior"] == pytest.approx((LABELS == 1).sum() * 1.2 * 0.9 * 1.7 / 1000)
    assert millilitres["Posterior"] == pytest.approx((LABELS == 2).sum() * 1.2 * 0.9 * 1.7 / 1000)


def test_volume_of_what_is_absent_is_zero():
    assert make(LABELS * 0).volumes_ml == {"Anterior": 0.0, "Posterior": 0.0}


def test_volumes_of_one_name_add_up():
    result = make(names={1: "Hippocampus", 2: "Hippocampus"})
    assert result.volumes_ml == {"Hippocampus": pytest.approx((LABELS > 0).sum() * 1.2 * 0.9 * 1.7 / 1000)}


def test_volumes_of_masks_count_each_voxel_for_every_class():
    masks = np.stack([LABELS > 0, LABELS == 2], axis=-1).astype(np.uint8)
    whole = make(masks, {0: "whole", 1: "part"}).volumes_ml
    assert whole["whole"] == pytest.approx(sum(make().volumes_ml.values()))
    assert whole["part"] == pytest.approx(make().volumes_ml["Posterior"])


def test_counts_of_wide_labels():
    labels = np.array([0, 1, 1, 4_000_000_000], np.uint32).reshape(2, 2, 1)
    assert count_labels(labels) == {0: 1, 1: 2, 4_000_000_000: 1}


@pytest.mark.parametrize(
    ("files", "name", "expected"),
    [
        ((), None, "image"),
        ((), "mine", "mine"),
        (("/data/scan.1.nii.gz",), None, "scan.1"),
        (("/data/scan.NII.GZ", "/data/other.nii"), None, "scan"),
        (("/data/scan.nii",), "visit/first", "visit/first"),
    ],
)
def test_saved_under_the_name_of_its_file(tmp_path, files, name, expected):
    result = make(files=tuple(map(Path, files)))
    assert result.save(tmp_path, name=name, picture=False) == tmp_path / "labels" / f"{expected}.nii.gz"
    assert json.loads((tmp_path / "report.json").read_text())["cases"][0]["case"] == expected
    assert (tmp_path / "volumes.csv").read_text().splitlines()[1].split(",")[0] == expected
    assert not (tmp_path / "pictures").exists()


def test_another_image_of_the_same_name_is_not_replaced(tmp_path):
    """Every image from memory is called `image` at first."""
    first, second = make(), make()
    second = replace(second, volume=replace(second.volume, array=IMAGE + 1))
    path = first.save(tmp_path, picture=False)
    before = path.read_bytes()
    with pytest.raises(
        UsageError, match=r"<array>: its results would replace those of <array> .* another name="
    ):
        second.save(tmp_path, picture=False)
    assert path.read_bytes() == before
    assert second.save(tmp_path, name="second", picture=False).name == "second.nii.gz"
    changed = replace(first, labels=LABELS * 0)
    assert changed.save(tmp_path, picture=False).read_bytes() != before, "other labels of the same image"


def test_results_of_other_settings_are_replaced_on_demand_alone(tmp_path):
    path = make().save(tmp_path, picture=False)
    before = path.read_bytes()
    made_by = {**make().provenance, "flips": {"axes": ["LR"], "swapped": []}}
    other = replace(make(LABELS * 0), provenance=made_by)
    with pytest.raises(
        UsageError, match=r"got those of 'image' \(flips none, now LR\); pass another name=, .* force=True"
    ):
        other.save(tmp_path, picture=False)
    assert path.read_bytes() == before
    assert other.save(tmp_path, picture=False, force=True).read_bytes() != before


def test_another_file_of_the_same_name_is_not_replaced(tmp_path):
    files = [tmp_path / folder / "T1.nii" for folder in ("one", "two")]
    for file in files:
        file.parent.mkdir()
        file.write_text(file.parent.name)
    make(files=(files[0],)).save(tmp_path / "out", picture=False)
    with pytest.raises(UsageError, match=f"{files[1]}: its results would replace those of {files[0]}"):
        make(files=(files[1],)).save(tmp_path / "out", picture=False)
    make(files=(files[0],)).save(tmp_path / "out", picture=False)


def test_results_of_another_bundle_are_not_replaced(tmp_path):
    path = make().save(tmp_path, picture=False)
    before = path.read_bytes()
    other = replace(make(LABELS * 0), provenance={**make().provenance, "bundle": "c"})
    with pytest.raises(UsageError, match="expected no results of another bundle than c, got those of b"):
        other.save(tmp_path, picture=False)
    assert path.read_bytes() == before
    other.save(tmp_path, name="second", picture=False)


@pytest.mark.parametrize("name", ["../../escaped", "/escaped", "a/../../escaped"])
def test_no_name_leads_out_of_the_folder(tmp_path, name):
    with pytest.raises(UsageError, match="pass another name="):
        make().save(tmp_path / "deep" / "out", name=name)
    assert list(tmp_path.iterdir()) == []


def test_saved_with_a_picture_beside_others(tmp_path):
    result = make()
    result.save(str(tmp_path))
    replace(result, labels=LABELS * 0).save(tmp_path, name="other")
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["image.png", "other.png"]
    assert json.loads((tmp_path / "report.json").read_text())["cases_done"] == 2
