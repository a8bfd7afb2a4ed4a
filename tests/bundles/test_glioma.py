"""The research example: packed patients of unknown voxel size, under terms that have to be accepted."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from importlib.resources import files
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

import medkit
from medkit.bundle.build import bundle_text, sources_root
from medkit.bundle.store import bundles_root, list_bundles
from medkit.cli import cli
from medkit.data import read_volume
from medkit.data.datalist import fold_items, remaining_folds
from medkit.errors import CaseError, UsageError
from medkit.inference.evaluation import evaluate
from medkit.training.run import create_run, open_run
from medkit.training.score_summary import summarise_scores
from tests.phantoms import nifti, write_glioma
from tests.tiny_bundle import edit_json, make_tiny_bundle

NAME, LABEL, TERMS = "glioma_segmentation_agunet", "FLAIR abnormality", "CC-BY-NC-SA-4.0"
PATIENTS = ["anna", "berta", "clara", "dora"]
SMALL = {"network_def::filters": [2, 4, 4, 4, 4], "patch_size": [48, 32, 4]}


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    """A folder of four packed phantoms."""
    folder = tmp_path_factory.mktemp("packed")
    for seed, patient in enumerate(PATIENTS):
        write_glioma(folder / f"{patient}.npz", (6, 40, 36), seed)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """The bundle with a small network and random weights."""
    made = make_tiny_bundle(tmp_path_factory.mktemp("bundle"), bundles_root() / NAME, NAME)
    edit_json(made / "configs" / "inference.json", lambda config: config.update(patch_size=[32, 32, 4]))
    return made


@pytest.fixture(scope="module")
def results(root, packed, tmp_path_factory) -> Path:
    """What ``medkit predict`` makes of the phantoms."""
    output = tmp_path_factory.mktemp("results") / "out"
    done = CliRunner().invoke(cli, ["predict", str(root), str(packed), "-o", str(output), "--accept-licence"])
    assert done.exit_code == 0, done.output
    return output


def test_neither_python_nor_the_command_line_loads_it_without_acceptance(root, packed, tmp_path):
    with pytest.raises(UsageError, match=TERMS):
        medkit.load(root)
    refused = CliRunner().invoke(cli, ["predict", str(root), str(packed), "-o", str(tmp_path / "out")])
    assert isinstance(refused.exception, UsageError)
    assert "--accept-licence" in str(refused.exception)
    assert not (tmp_path / "out").exists()


def test_it_is_the_one_bundle_that_asks_for_acceptance():
    asking = {bundle.name for bundle in list_bundles() if not bundle.commercial_use}
    assert asking == {"glioma_segmentation_agunet"}
    for bundle in list_bundles():
        text = (bundle.root / "LICENSE").read_text()
        assert ("NonCommercial" in text) == (bundle.name in asking)


def test_what_was_accepted_is_recorded(root, packed, results):
    record = json.loads((results / "cases" / "anna.json").read_text())
    assert record["accepted_licence"] == TERMS
    result = medkit.load(root, accept_licence=True).predict(packed / "anna.npz")
    assert result.provenance["accepted_licence"] == TERMS


def test_training_without_acceptance_is_refused(packed, tmp_path):
    with pytest.raises(UsageError, match=TERMS):
        create_run(NAME, tmp_path / "runs", overrides={"dataset_dir": str(packed)})
    assert not (tmp_path / "runs").exists()


def test_volumes_read_unknown_everywhere(root, packed, results):
    result = medkit.load(root, accept_licence=True).predict(packed / "anna.npz")
    assert result.volumes_ml == {LABEL: "unknown"}
    report = json.loads((results / "report.json").read_text())
    assert {str(case["volumes_ml"]) for case in report["cases"]} == {str({LABEL: "unknown"})}
    rows = list(csv.DictReader((results / "volumes.csv").open()))
    assert [(row["case"], row[LABEL]) for row in rows] == [(patient, "unknown") for patient in PATIENTS]
    assert all(row["notes"].startswith("the voxel size is unknown") for row in rows)
    assert (results / "pictures" / "anna.png").is_file()


def test_records_follow_the_schema(results):
    schema = json.loads((files("medkit") / "schemas" / "case.schema.json").read_text())
    record = json.loads((results / "cases" / "anna.json").read_text())
    Draft202012Validator(schema).validate(record)
    assert any("voxel size is unknown" in note for note in record["notes"])
    record["volumes_ml"] = {LABEL: "1 ml"}
    assert not Draft202012Validator(schema).is_valid(record)


def test_the_label_map_lies_on_the_slices_and_says_that_its_size_is_unknown(packed, results):
    labels, image = read_volume(results / "labels" / "anna.nii.gz"), read_volume(packed / "anna.npz")
    assert labels.grid.shape == image.grid.shape
    assert not labels.grid.size_known


def test_evaluation_scores_the_dice_and_calls_the_rest_unknown(packed, results, tmp_path):
    summary = evaluate(results, packed, tmp_path / "scores", images=packed)
    assert summary.size_unknown == tuple(PATIENTS)
    for row in csv.DictReader((tmp_path / "scores" / "scores.csv").open()):
        assert 0 <= float(row["dice"]) <= 1
        assert {row[key] for key in ("surface_dice", "hd95_mm", "volume_ml", "truth_volume_ml")} == {
            "unknown"
        }
    record = json.loads((tmp_path / "scores" / "summary.json").read_text())
    assert record["voxel_size_unknown"] == PATIENTS
    statistics = record["labels"][0]["predictions"]
    assert (statistics["dice"]["n"], statistics["surface_dice"]["n"], statistics["hd95_mm"]["n"]) == (4, 0, 0)
    assert all(case.picture and not case.reason for case in summary.worst)


def test_the_dice_is_that_of_the_arrays(packed, results, tmp_path):
    summary = evaluate(results, packed, tmp_path / "scores")
    for patient in PATIENTS:
        predicted = np.asarray(nib.load(results / "labels" / f"{patient}.nii.gz").dataobj) > 0
        mask = np.load(packed / f"{patient}.npz")["mask"].transpose(2, 1, 0) > 0
        dice = 2 * (predicted & mask).sum() / (predicted.sum() + mask.sum())
        assert summary.scores[patient][1].dice == pytest.approx(dice)


def test_an_image_that_states_its_voxel_size_has_volumes(root, packed, tmp_path):
    image = read_volume(packed / "anna.npz", ("flair", "pre", "post"))
    nib.save(nifti(image.array, np.diag([-0.5, -0.5, 4.0, 1.0])), tmp_path / "anna.nii.gz")
    bundle = medkit.load(root, accept_licence=True)
    known, unknown = bundle.predict(tmp_path / "anna.nii.gz"), bundle.predict(packed / "anna.npz")
    np.testing.assert_array_equal(known.labels, unknown.labels)
    assert known.volumes_ml[LABEL] == pytest.approx(np.count_nonzero(known.labels) * 0.001)


def test_a_bundle_that_resamples_to_millimetres_refuses_an_unknown_size(packed, tmp_path):
    other = medkit.load(make_tiny_bundle(tmp_path))
    with pytest.raises(CaseError, match="expected an image whose voxel size is known") as caught:
        other.predict(packed / "anna.npz")
    assert caught.value.code == "voxel-size-unknown"


def test_a_clean_up_in_millimetres_is_refused_before_the_network_runs(root, packed, monkeypatch):
    strict = medkit.load(root, accept_licence=True, overrides={"clean_up::minimum_mm3": 50})
    monkeypatch.setattr(strict.network, "forward", lambda image: pytest.fail("the network ran"))
    with pytest.raises(CaseError, match=r"anna.npz: expected .* minimum_mm3 .* give the rule in voxels"):
        strict.predict(packed / "anna.npz")
    in_voxels = medkit.load(root, accept_licence=True, overrides={"clean_up::minimum_voxels": 10**6})
    result = in_voxels.predict(packed / "anna.npz")
    assert not result.labels.any()
    assert "voxels, all there was)" in result.notes[-2]


def test_channels_are_taken_by_name(root, packed, tmp_path):
    arrays = np.load(packed / "anna.npz")
    np.savez(tmp_path / "shuffled.npz", **{name: arrays[name] for name in ("post", "mask", "pre", "flair")})
    np.savez(tmp_path / "short.npz", **{name: arrays[name] for name in ("pre", "flair")})
    bundle = medkit.load(root, accept_licence=True)
    expected = bundle.predict(packed / "anna.npz").labels
    np.testing.assert_array_equal(bundle.predict(tmp_path / "shuffled.npz").labels, expected)
    with pytest.raises(CaseError, match="without post"):
        bundle.predict(tmp_path / "short.npz")


def test_a_channel_of_zeros_is_remarked_on(root, packed, tmp_path):
    arrays = dict(np.load(packed / "anna.npz"))
    np.savez(tmp_path / "anna.npz", **{**arrays, "flair": arrays["flair"] * 0})
    bundle = medkit.load(root, accept_licence=True)
    (note,) = {*bundle.predict(tmp_path / "anna.npz").notes} - {*bundle.predict(packed / "anna.npz").notes}
    assert note == "channel 0 (FLAIR) of the image shows nothing: it is 0 in every voxel"


def test_plain_monai_writes_the_same_label_maps(root, packed, results, tmp_path):
    words = [
        "--config_file",
        root / "configs" / "inference.json",
        "--bundle_root",
        root,
        "--dataset_dir",
        packed,
    ]
    command = [sys.executable, "-m", "monai.bundle", "run", *words, "--output_dir", tmp_path / "out"]
    done = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for patient in PATIENTS:
        own, plain = (
            read_volume(folder / f"{patient}.nii.gz") for folder in (results / "labels", tmp_path / "out")
        )
        np.testing.assert_array_equal(own.array, plain.array)
        assert not plain.grid.size_known


def test_it_is_trained_and_scored_by_patient(packed, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    settings = {"epochs": 1, "samples_per_epoch": 8, "val_every": 1, "num_workers": 0}
    run = create_run(
        NAME,
        tmp_path / "runs",
        overrides={
            **SMALL,
            **settings,
            "dataset_dir": str(packed),
            "split": [["anna", "clara"], ["berta", "dora"]],
        },
        name="trial",
        held_out=[1],
        accept_licence=True,
    )
    assert open_run(run.folder).accepted_licence == TERMS
    run.train()
    record = json.loads((run.folder / "fold1" / "record.json").read_text())
    assert (record["train_cases"], record["test_cases"]) == (["anna", "clara"], ["berta", "dora"])
    assert len(record["data_sha256"]) == 4
    for row in record["scores"]:
        assert 0 <= row["dice"] <= 1
        assert [row[key] for key in ("surface_dice", "hd95_mm", "volume_ml", "truth_volume_ml")] == [None] * 4
    assert (run.folder / "fold1" / "figures" / "worst.png").is_file()
    assert not read_volume(run.folder / "fold1" / "predictions" / "dora.nii.gz").grid.size_known


def test_every_fold_of_the_split_is_cross_validated(packed, tmp_path):
    run = create_run(
        NAME,
        tmp_path / "runs",
        overrides={"dataset_dir": str(packed), "split": [["anna"], ["berta"], ["clara", "dora"]]},
        cross_validate=True,
        accept_licence=True,
    )
    assert run.folds == (0, 1, 2, None)


def test_the_committed_split_holds_every_real_patient_once(real_data):
    split = json.loads((bundles_root() / NAME / "configs" / "train.json").read_text())["split"]
    folder = real_data / "glioma_multicontrast"
    items = fold_items(folder, range(len(split)), split=split)
    assert sorted(item["case"] for item in items) == sorted(path.stem for path in folder.glob("*.npz"))
    assert Counter(map(len, split)) == {3: 4}
    assert remaining_folds(folder, 1, split) == [0, 2, 3]
    # A name is site, patient and date: no patient is in two folds.
    patients = [{name.rsplit("_", 1)[0] for name in fold} for fold in split]
    assert len(set.union(*patients)) == sum(map(len, patients)) == 12


def test_the_card_has_no_column_for_what_was_not_measured():
    row = {"case": "anna", "name": LABEL, "dice": 0.8, "surface_dice": None, "hd95_mm": None}
    record = {
        "training": {
            "cases": 2, "parameters": 3, "steps": 4, "precision": "32-true", "seconds": 5.0, "device": "cpu",
            "settings": {"batch_size": 2, "patch_size": [8, 8, 8], "seed": 1}, "versions": {"medkit": "0.1"},
            "mlflow_run_id": "none", "data_sha256": "none",
        },
        "cross_validation": {
            "summary": summarise_scores([row, {**row, "case": "berta", "dice": 0.6}]),
            "folds": [{"fold": 0, "cases": 2, "dice": 0.7}],
        },
        "calibration": {
            "temperature": 1.5, "within_voxels": 2, "bins": 15,
            "near_drawn": {"voxels": 9, "before": {"ece": 0.1}, "after": {"ece": 0.05}},
            "near_reference": {"voxels": 8, "before": {"ece": 0.2}, "after": {"ece": 0.15}},
        },
    }  # fmt: skip
    card = bundle_text(sources_root() / NAME, record)["docs/README.md"]
    assert f"| {LABEL} | 2 | 0.700 ± 0.141 | 0.600 (berta) |" in card
    assert "(9 voxels) the expected calibration error (15 bins) is 0.100 without" in card
    assert "cross-fitted" in card
    assert "HD95" not in card
    assert "None" not in card
    assert "distances and volumes are unknown" in card
    assert "--accept-licence" in card
    assert (
        "second command does not ask whether the terms in LICENSE, which forbid commercial use, are" in card
    )
