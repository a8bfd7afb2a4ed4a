"""``medkit train``: what a user sees when it goes wrong."""

from __future__ import annotations

import re
import shutil

import nibabel as nib
import numpy as np
import pytest

from medkit.bundle import versions
from medkit.cli import main
from tests.training.conftest import dataset_dir, small  # noqa: F401

BUNDLE = "hippocampus_segmentation_unet"


def run(capfd, *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main(["train", BUNDLE, *arguments])
    return stop.value.code, capfd.readouterr().err


def test_training_that_cannot_begin_is_one_line_and_leaves_no_folder(tmp_path, monkeypatch, capfd, small):  # noqa: F811
    settings = {**small, "patch_size": [20, 20, 20]}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    code, errors = run(capfd, "--runs", str(tmp_path / "runs"), "--name", "bad", *words)
    assert code == 2
    assert "expected a network for patches (2, 1, 20, 20, 20)" in errors.strip().splitlines()[-1]
    assert not (tmp_path / "runs").exists()


def test_training_that_fails_is_one_line_and_its_traceback_a_file(tmp_path, monkeypatch, capfd, small):  # noqa: F811
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    settings = {**small, "crop_near::transforms": "[]", "crop_far::transforms": "[]", "epochs": 1}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    code, errors = run(capfd, "--runs", str(tmp_path / "runs"), "--name", "bad", *words)
    line = errors.strip().splitlines()[-1]
    assert code == 4
    assert line.startswith("medkit: training failed (")
    assert f"--resume bad --runs {tmp_path}/runs" in line
    assert "Traceback" not in errors
    assert "Traceback" in (tmp_path / "runs" / BUNDLE / "bad" / "error.txt").read_text()


def test_a_label_map_that_lies_elsewhere_ends_it_with_one_line(tmp_path, monkeypatch, capfd, small):  # noqa: F811
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    folder = shutil.copytree(small["dataset_dir"], tmp_path / "data")
    label = sorted((folder / "labels").iterdir())[0]
    stored = nib.load(label)
    nib.save(nib.Nifti1Image(stored.get_fdata(), np.diag([-1, 1, 1, 1]) @ stored.affine), label)
    words = [
        word
        for key, value in {**small, "dataset_dir": folder}.items()
        for word in ("--set", f"{key}={value}")
    ]
    code, errors = run(capfd, "--runs", str(tmp_path / "runs"), "--name", "apart", *words)
    line = errors.strip().splitlines()[-1]
    assert code == 2
    assert f"{label}: expected the grid of " in line
    assert "Traceback" not in errors


def test_a_log_file_gets_a_line_an_epoch_and_the_scores(tmp_path, monkeypatch, capfd, small):  # noqa: F811
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    words = [word for key, value in small.items() for word in ("--set", f"{key}={value}")]
    with pytest.raises(SystemExit) as stop:
        main(["train", BUNDLE, "--runs", str(tmp_path / "runs"), "--name", "log", "--fold", "1", *words])
    assert stop.value.code == 0
    lines = capfd.readouterr().out.splitlines()
    begun = next(number for number, line in enumerate(lines) if line == "training  fold1")
    when = r", ends about \d{4}-\d\d-\d\d \d\d:\d\d"
    number = r"\d\.\d{3}"
    expected = [
        rf"epoch     1/3: loss {number}\d, \d+\.\d s{when}",
        rf"epoch     2/3: loss {number}\d, Dice {number}, \d+\.\d s{when}",
        rf"epoch     3/3: loss {number}\d, \d+\.\d s",
        r"scoring   \d+ held-out cases",
        rf"Dice      mean {number}, anterior hippocampus {number}, posterior hippocampus {number}",
        "finished  .*",
    ]
    for pattern, line in zip(expected, lines[begun + 1 :], strict=True):
        assert re.fullmatch(pattern, line), line


def test_training_that_diverges_is_one_line(tmp_path, monkeypatch, capfd, small):  # noqa: F811
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    settings = {**small, "learning_rate": 1e18}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    code, errors = run(capfd, "--runs", str(tmp_path / "runs"), "--name", "bad", *words)
    assert code == 4
    assert errors.strip().splitlines()[-1].startswith("medkit: training stopped in epoch 1: expected")
    assert "Traceback" not in errors


def test_without_the_training_packages_the_line_says_how_to_get_them(monkeypatch, capfd):
    monkeypatch.setattr(versions, "find_spec", lambda name: None)
    code, errors = run(capfd)
    assert code == 2
    assert "needs pytorch_lightning and mlflow" in errors
    assert "pip install 'medkit-imaging[train]'" in errors


def test_a_fold_and_all_folds_exclude_each_other(capfd):
    code, errors = run(capfd, "--fold", "1", "--cross-validate")
    assert code == 2
    assert "drop --fold" in errors


def test_a_run_is_resumed_with_the_config_that_it_was_begun_with(capfd):
    code, errors = run(capfd, "--resume", "first", "--config", "fine_tuning")
    assert code == 2
    assert "drop --set, --config, --name, --fold, --cross-validate" in errors


def test_a_config_that_the_bundle_lacks_is_one_line(capfd, tmp_path):
    code, errors = run(capfd, "--config", "fine_tuning", "--runs", str(tmp_path / "runs"))
    assert code == 2
    assert errors.strip() == (
        f"medkit: {BUNDLE}: expected one of its training configs, train, got 'fine_tuning'"
    )
