"""The way to nnU-Net and back, with a stand-in for nnU-Net itself."""

from __future__ import annotations

import json
import sys

import nibabel as nib
import numpy as np
import pytest
import segmenters_nnunet
from segmenters_nnunet import LABELS, convert, measure, score, splits
from segmenters_training import Form

FORM = Form(folds=(0,), seeds=(0,), more_folds=(0,), more_seeds=(0,), cases=2)
# Predicts the truth, and marks nothing in one case.
STAND_IN = """
import os, pathlib, shutil, sys
import nibabel, numpy
name, *rest = sys.argv[2:]
raw, prepared, results = (pathlib.Path(os.environ["nnUNet_" + part]) for part in ("raw", "preprocessed", "results"))
if sys.argv[1] == "prepare":
    (prepared / name).mkdir(parents=True)
else:
    results.mkdir()
    for path in (raw / name / "labelsTr").iterdir():
        shutil.copy(path, results / path.name)
    image = nibabel.load(results / "b_002.nii.gz")
    nibabel.save(nibabel.Nifti1Image(numpy.zeros(image.shape, "u1"), image.affine), results / "b_002.nii.gz")
    (results / "arguments").write_text(" ".join(rest))
    print("so much for the log")
    print(results)
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
    for seed in (7, 8):
        rows = measure(sys.executable, dataset, FORM, 0, seed, 40, tmp_path / "work")["scores"]
        assert [(row["case"], row["label"]) for row in rows] == [
            ("a_001", 1), ("a_001", 2), ("b_002", 1), ("b_002", 2)
        ]  # fmt: skip
        assert [row["dice"] for row in rows] == [1.0, 1.0, 0.0, 0.0]
        assert [row["hd95_mm"] for row in rows] == [0.0, 0.0, "inf", "inf"]
        arguments = (tmp_path / "work" / f"results-40-{seed}" / "arguments").read_text()
        assert arguments.split()[:3] == ["0", str(seed), "40"]
    assert json.dumps(rows, allow_nan=False)


def test_a_case_that_was_not_predicted_is_not_passed_over(dataset, tmp_path):
    with pytest.raises(Exception, match="a_001"):
        score(tmp_path, dataset, ["a_001"])
