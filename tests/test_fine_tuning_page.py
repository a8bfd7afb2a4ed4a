"""The page of fine-tuning shows what works: its table, its data set and its commands, on phantoms and a tiny bundle."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medkit.bundle.store import BundleFolder
from medkit.cli import main
from medkit.data import read_volume
from medkit.data.hashing import hash_files
from medkit.data.label_sets import LabelSets, read_label_table
from medkit.metrics.segmentation import score_case
from tests.head_phantom import head
from tests.test_readme import blocks, check, commands
from tests.tiny_brains import NAME, make_tiny_brains

PAGE = "docs/fine_tuning.md"
# FreeSurfer's values in the phantom to those of the page's table.
OTHERS = {3: 1, 42: 1, 2: 2, 17: 12, 41: 3, 53: 3, 16: 4}
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
QUICK = {
    "epochs": "1", "samples_per_epoch": "3", "sample_size": "[24, 24, 24]", "reach": "[[-2, 2], [-2, 2], [-2, 2]]",
    "num_workers": "0",
}  # fmt: skip
MAPS = [f"training_seg_{number:02}" for number in (2, 3, 5, 6, 8, 9, 11, 12)]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch) -> Path:
    """A folder with the page's data set, a tiny bundle in ``own/`` and label maps for synthetic samples."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MEDKIT_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    make_tiny_brains(tmp_path / "own")
    phantom = head()[0, 0].numpy()
    for name in MAPS:
        save(tmp_path / "brain_label_maps" / name, phantom.astype(np.int16), np.eye(4))
    (folds,) = blocks(PAGE, "json")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset.json").write_text(folds)
    labels = np.vectorize(lambda value: OTHERS.get(value, 0))(phantom).astype(np.uint8)[::2, ::2, ::2]
    for number, case in enumerate(name for fold in json.loads(folds)["folds"] for name in fold):
        image = (labels * 40 + np.random.default_rng(number).integers(0, 20, labels.shape)).astype(np.int16)
        for place, array in (("data/images", image), ("data/labels", labels), ("scans", image)):
            save(tmp_path / place / case, array, AFFINE)
        if number < 2:
            save(tmp_path / "held_out" / case, image, AFFINE)
            save(tmp_path / "truth" / case, np.minimum(labels, 1), AFFINE)
    return tmp_path


def save(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, f"{path}.nii.gz")


def make_the_tables() -> None:
    """As the page's blocks do, one after the other."""
    made: dict = {}
    for block in blocks(PAGE, "python"):
        exec(compile(block, PAGE, "exec"), made)


def run(line: str) -> int:
    """The exit code of a command of the page, on the tiny bundle."""
    words = [f"own/{NAME}" if word == NAME else word for word in shlex.split(line)[1:]]
    if words[0] == "train" and "--resume" not in words:
        words += [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]
    with pytest.raises(SystemExit) as stop:
        main(words)
    return stop.value.code


def test_the_commands_have_the_options_that_the_page_shows():
    for line in commands(PAGE):
        check(line)


def test_what_is_shown_works(desk: Path, capfd):
    make_the_tables()
    train, resume = (
        next(line for line in commands(PAGE) if word in line) for word in ("--cross-validate", "--resume")
    )
    assert run(train) == 0, capfd.readouterr().err
    assert run(resume) == 0
    held_out_cases_are_scored_in_what_the_table_tells_apart(desk)
    for line in commands(PAGE):
        if line.startswith(("medkit predict", "medkit evaluate")):
            assert run(line) == 0, f"{line}: {capfd.readouterr().err}"
    the_scores_are_those_of_the_bundle_that_the_fold_left(desk)
    capfd.readouterr()
    assert run(f"medkit bundle adopt runs/{NAME}/mine") == 2
    assert "expected a run of the bundle's train.json, got one of fine_tuning.json" in capfd.readouterr().err


@pytest.mark.parametrize("case", ["case_0", "case_3"], ids=["held out", "trained on"])
def test_a_value_that_the_table_lacks_is_told_before_anything_is_made(desk: Path, capfd, case):
    make_the_tables()
    labels = np.asarray(nib.load(desk / "data" / "labels" / f"{case}.nii.gz").dataobj).copy()
    labels[3, 4, 5] = 77
    save(desk / "data" / "labels" / case, labels, AFFINE)
    (train,) = (line for line in commands(PAGE) if "--cross-validate" in line)
    assert run(train.replace("--cross-validate", "--fold 0")) == 2
    assert (
        f"label maps of {case}: expected values of the table (6 of them, 0 to 12), got 77"
        in capfd.readouterr().err
    )
    assert not (desk / "runs" / NAME / "mine").exists()
    assert not (desk / "mlflow.db").exists()


def held_out_cases_are_scored_in_what_the_table_tells_apart(desk: Path) -> None:
    record = json.loads((desk / "runs" / NAME / "mine" / "fold0" / "record.json").read_text())
    assert record["test_cases"] == ["case_0", "case_1"]
    assert record["train_cases"] == ["case_2", "case_3", *MAPS]
    assert {row["name"] for row in record["scores"]} == {
        "left cerebral white matter", "right cerebral white matter", "brain-stem",
    }  # fmt: skip
    weights = desk / "own" / NAME / "models" / "model.pt"
    assert record["settings"]["initial_weights"] == hash_files([weights])


def the_scores_are_those_of_the_bundle_that_the_fold_left(desk: Path) -> None:
    """What a training says of a held-out case is what a prediction with its bundle is worth."""
    record = json.loads((desk / "runs" / NAME / "mine" / "fold0" / "record.json").read_text())
    config = json.loads((desk / "own" / NAME / "configs" / "inference.json").read_text())
    sets = LabelSets(config["label_names"], read_label_table("table.json"))
    for case in record["test_cases"]:
        labels = read_volume(desk / "with" / "labels" / f"{case}.nii.gz")
        truth = read_volume(desk / "data" / "labels" / f"{case}.nii.gz").array
        pair = sets.comparable(labels.array, sets.numbers(truth))
        for score in score_case(*pair, labels.grid.spacing_mm, sets.compared):
            (row,) = [r for r in record["scores"] if (r["case"], r["name"]) == (case, score.name)]
            assert row["dice"] == pytest.approx(score.dice, nan_ok=True)


def test_the_table_of_the_bundles_own_values_has_all_of_them(desk: Path):
    make_the_tables()
    config = json.loads(BundleFolder(desk / "own" / NAME).config_path("inference").read_text())
    sets = LabelSets(config["label_names"], read_label_table("own.json"))
    assert sets.values == tuple(range(33))
    assert sets.compared == {
        int(value): name for value, name in config["label_names"].items() if value != "0"
    }


def test_a_few_structures_alone_are_learned_without_label_maps_for_synthetic_samples(
    desk: Path, monkeypatch, capfd
):
    make_the_tables()
    (train,) = (line for line in commands(PAGE) if "--cross-validate" in line)
    line = train.replace("--cross-validate", "--fold 1").replace("table.json", "partial.json")
    for path in (desk / "data" / "labels").iterdir():
        labels = np.asarray(nib.load(path).dataobj)
        save(
            path.with_name(path.name.removesuffix(".nii.gz")),
            (labels == 2) + 2 * (labels == 3).astype(np.uint8),
            AFFINE,
        )
    shutil.rmtree(desk / "brain_label_maps")
    assert run(line) == 2
    assert "there is no folder 'brain_label_maps' in it" in capfd.readouterr().err
    monkeypatch.delenv("MEDKIT_DATA")
    assert run(f"{line} --set synthetic_items=[] --set around_the_brain::margin=60") == 0, (
        capfd.readouterr().err
    )
    record = json.loads((desk / "runs" / NAME / "mine" / "fold1" / "record.json").read_text())
    assert record["train_cases"] == ["case_0", "case_1"]
    assert {row["name"] for row in record["scores"]} == {"left hippocampus", "right hippocampus"}


def test_the_table_of_a_few_structures_leaves_the_others_open(desk: Path):
    make_the_tables()
    config = json.loads(BundleFolder(desk / "own" / NAME).config_path("inference").read_text())
    sets = LabelSets(config["label_names"], read_label_table("partial.json"))
    (left, right) = (
        int(value) for value, name in config["label_names"].items() if name.endswith("hippocampus")
    )
    assert sets.compared == {left: "left hippocampus", right: "right hippocampus"}
    (rest,) = (found for found in sets.sets if len(found) > 1)
    assert sorted([*rest, left, right]) == list(range(33))
