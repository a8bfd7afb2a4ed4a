import json
from pathlib import Path

import numpy as np
import pytest
import torch

import medkit
from medkit.bundle.check import check_bundle
from medkit.bundle.store import BundleFolder, find_bundle
from medkit.training.exported import export_bundle
from medkit.training.run import TrainingRun, create_run
from tests.phantoms import hippocampus

BUNDLE = "hippocampus_segmentation_unet"
OTHER = {
    "_target_": "medkit.networks.create",
    "name": "umamba",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "filters": [4, 8],
    "strides": [2],
}
RECORD = {
    "fold": 1,
    "settings": {"seed": 1},
    "train_cases": ["a", "b"],
    "test_cases": ["c"],
    "data_sha256": {"images/a.nii.gz": "11", "images/b.nii.gz": "22", "images/c.nii.gz": "33"},
    "images_sha256": ["11", "22"],
    "parameters": 7,
    "steps": 2,
    "seconds": 1.0,
    "precision": "32-true",
    "device": "a CPU",
    "versions": {},
    "scores": [
        {"case": "c", "name": "front", "dice": 0.25, "surface_dice": 0.5, "hd95_mm": 9.0},
        {"case": "c", "name": "back", "dice": 0.75, "surface_dice": 0.5, "hd95_mm": 9.0},
    ],
}


def begun(tmp_path: Path, small, **changes) -> TrainingRun:
    """A run with the weights that its network begins with, as if it had been trained."""
    overrides = {key: value for key, value in small.items() if not key.startswith("network_def")}
    run = create_run(BUNDLE, tmp_path / "runs", overrides={**overrides, **changes}, name="mine", held_out=[1])
    (run.folder / "fold1").mkdir()
    torch.save(run.config(1).build("network").state_dict(), run.folder / "fold1" / "model.pt")
    return run


def test_another_network_and_preprocessing_reach_the_bundle_of_the_run(tmp_path: Path, small):
    axes = {"spacing": [1.5, 1.5, 1.5], "orientation": "LAS"}
    run = begun(tmp_path, small, network_def=OTHER, **axes)
    export_bundle(run, RECORD, run.folder / "fold1" / "bundle")
    made = BundleFolder(run.folder / "fold1" / "bundle")
    assert [found.problem for found in check_bundle(made) if found.problem] == []
    config = json.loads(made.config_path("inference").read_text())
    assert config["network_def"] == OTHER
    assert {key: config[key] for key in axes} == axes
    assert config["patch_size"] == small["patch_size"]
    assert config["dataset_dir"] == "$@bundle_root + '/images'", "that of the training is not inference's"
    assert list(run.folder.glob("fold1/.part-*")) == []
    trained = torch.load(run.folder / "fold1" / "model.pt", weights_only=True)
    loaded = medkit.load(made.root).network.state_dict()
    assert all(torch.equal(loaded[name].cpu(), value) for name, value in trained.items())


def test_no_figure_of_the_published_network_goes_along(tmp_path: Path, small):
    published = find_bundle(BUNDLE)
    assert {"calibration", "volume_intervals", "cross_validation"} <= published.metadata.keys()
    run = begun(tmp_path, small)
    export_bundle(run, RECORD, run.folder / "fold1" / "bundle")
    made = BundleFolder(run.folder / "fold1" / "bundle")
    assert not {"calibration", "volume_intervals", "cross_validation"} & made.metadata.keys()
    result = medkit.load(made.root).predict(hippocampus((20, 24, 18), np.eye(4))[0], np.eye(4))
    assert not result.volume_interval_ml
    assert "calibration" not in result.provenance
    card = (made.root / "docs" / "README.md").read_text()
    assert card.startswith(f"# {BUNDLE}, run mine (fold1)\n")
    assert "| mean over labels | 1 | 0.500 ± - | 0.500 (c) |" in card
    assert "0.892" not in card
    assert "192 cases" not in card
    assert "2 cases; SHA-256" in card
    assert made.metadata["training"]["run"] == "mine"
    assert made.metadata["training"]["images_sha256"] == ["11", "22"]
    assert "training run mine (fold1)" in made.metadata["data_source"]


def test_figures_of_the_run_itself_are_told(tmp_path: Path, small):
    run = begun(tmp_path, small)
    export_bundle(run, {**RECORD, "scores": [], "test_cases": []}, tmp_path / "plain")
    assert "Not measured: it was trained on every case." in (tmp_path / "plain/docs/README.md").read_text()
    export_bundle(run, RECORD, tmp_path / "own", {"calibration": {"temperature": 1.25}})
    assert "Temperature 1.25" in (tmp_path / "own" / "docs" / "README.md").read_text()
    assert medkit.load(tmp_path / "own").calibration == {"temperature": 1.25, "applied": True}


def test_a_second_export_takes_the_place_of_the_first(tmp_path: Path, small):
    run = begun(tmp_path, small)
    target = tmp_path / "bundle"
    export_bundle(run, RECORD, target)
    (target / "stale").touch()
    (run.folder / "fold1" / "model.pt").rename(tmp_path / "weights")
    with pytest.raises(FileNotFoundError):
        export_bundle(run, RECORD, target)
    assert (target / "stale").exists(), "nothing is lost by one that fails"
    (tmp_path / "weights").rename(run.folder / "fold1" / "model.pt")
    export_bundle(run, RECORD, target)
    assert not (target / "stale").exists()
