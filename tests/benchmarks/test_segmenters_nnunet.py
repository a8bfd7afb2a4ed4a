"""The way to nnU-Net and back, with a stand-in for nnU-Net itself."""

from __future__ import annotations

import json
import sys

import nibabel as nib
import numpy as np
import pytest
import segmenters_nnunet
from segmenters_nnunet import LABELS, convert, legend, measure, score, splits, voxels
from segmenters_training import Form

from medkit.errors import CaseError

FORM = Form(folds=(0,), seeds=(0,), more_folds=(0,), more_seeds=(0,), cases=2)
# Predicts the truth with mirroring; without, marks nothing in one case.
STAND_IN = """
import json, os, pathlib, shutil, sys
import nibabel, numpy
name, *rest = sys.argv[2:]
raw, prepared, results = (pathlib.Path(os.environ["nnUNet_" + part]) for part in ("raw", "preprocessed", "results"))
if sys.argv[1] == "prepare":
    (prepared / name).mkdir(parents=True)
else:
    made = {kind: str(shutil.copytree(raw / name / "labelsTr", results / kind)) for kind in ("mirrored", "plain")}
    image = nibabel.load(results / "plain" / "b_002.nii.gz")
    nothing = nibabel.Nifti1Image(numpy.zeros(image.shape, "u1"), image.affine)
    nibabel.save(nothing, results / "plain" / "b_002.nii.gz")
    (results / "arguments").write_text(" ".join(rest))
    print("so much for the log")
    print(json.dumps({**made, "batch": 9, "patch": [40, 56, 40], "device": rest[-1], "precision": "float32"}))
"""


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "data"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    folds = [["a_001", "b_002", "c_003"], ["d_004"]]
    for number, case in enumerate(case for fold in folds for case in fold):
        labels = np.zeros((8, 9, 10), np.uint8)
        labels[2:4, 2:6, 2:6], labels[4:6, 2:6, 2:5] = 1, 2
        for name, array in (("images", labels * 10 + number), ("labels", labels)):
            nib.save(nib.Nifti1Image(array.astype(np.uint8), np.eye(4)), folder / name / f"{case}.nii.gz")
    (folder / "dataset.json").write_text(json.dumps({"folds": folds}))
    return str(folder)


def test_the_raw_data_set(dataset, tmp_path):
    convert(dataset, tmp_path / "raw")
    files = sorted(str(path.relative_to(tmp_path / "raw")) for path in (tmp_path / "raw").rglob("*.gz"))
    assert files[:2] == ["imagesTr/a_001_0000.nii.gz", "imagesTr/b_002_0000.nii.gz"]
    assert files[-1] == "labelsTr/d_004.nii.gz"
    content = json.loads((tmp_path / "raw" / "dataset.json").read_text())
    assert content["labels"] == {name: value for value, name in LABELS.items()}
    assert content["numTraining"] == 4


def test_splits_are_the_folds_and_only_some_cases_are_scored(dataset):
    assert splits(dataset, FORM) == [
        {"train": ["d_004"], "val": ["a_001", "b_002"]},
        {"train": ["a_001", "b_002", "c_003"], "val": ["d_004"]},
    ]


def test_predictions_are_scored_by_our_metrics(dataset, tmp_path, monkeypatch):
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    monkeypatch.setattr(segmenters_nnunet, "_SCRIPT", script)
    monkeypatch.setattr(segmenters_nnunet, "version", lambda _: "2.8.1")
    for seed in (7, 8):
        made = measure(sys.executable, dataset, FORM, 0, seed, 40, "a" * 64, tmp_path / "work")
        assert [row["dice"] for row in made["scores"]["mirrored"]] == [1.0] * 4
        rows = made["scores"]["plain"]
        assert [(row["case"], row["label"]) for row in rows] == [
            ("a_001", 1), ("a_001", 2), ("b_002", 1), ("b_002", 2)
        ]  # fmt: skip
        assert [row["dice"] for row in rows] == [1.0, 1.0, 0.0, 0.0]
        assert [row["hd95_mm"] for row in rows] == [0.0, 0.0, "inf", "inf"]
        folder = tmp_path / "work" / f"2.8.1-{'a' * 16}"
        arguments = (folder / f"results-40-{seed}" / "arguments").read_text()
        assert arguments.split()[:3] == ["0", str(seed), "40"]
    assert json.dumps(made, allow_nan=False)
    assert voxels(made) == 9 * 40 * 56 * 40
    assert f"9 patches of 40 x 56 x 40 voxels, on {made['device']} in float32" in legend([made])
    measure(sys.executable, dataset, FORM, 0, 7, 20, "b" * 64, tmp_path / "work")  # other data: prepared anew
    assert len([path for path in (tmp_path / "work").iterdir() if (path / "preprocessed").is_dir()]) == 2


def test_a_prediction_on_another_grid_is_refused(dataset, tmp_path):
    labels = nib.load(f"{dataset}/labels/a_001.nii.gz")
    moved = labels.affine.copy()
    moved[0, 3] += 3
    nib.save(nib.Nifti1Image(np.asarray(labels.dataobj), moved), tmp_path / "a_001.nii.gz")
    with pytest.raises(CaseError, match="expected the grid of"):
        score(tmp_path, dataset, ["a_001"])


def test_a_case_that_was_not_predicted_is_not_passed_over(dataset, tmp_path):
    with pytest.raises(Exception, match="a_001"):
        score(tmp_path, dataset, ["a_001"])
