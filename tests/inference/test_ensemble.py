"""Several networks: the mean of their probabilities, in the record, and never taken for another run's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import medkit
from medkit.data import find_cases
from medkit.data.hashing import hash_files
from medkit.errors import UsageError
from medkit.inference.ensemble import WeightsFile, fold_weights, own_images
from medkit.inference.run import RunOptions, predict_cases
from tests.inference.lateral import with_masks, with_names, with_steps
from tests.phantoms import hippocampus, write_hippocampus
from tests.tiny_bundle import edit_json

IMAGE = hippocampus((14, 12, 13), np.eye(4))[0]
BUNDLE = "hippocampus_segmentation_unet"


@pytest.fixture(scope="module")
def run(tiny_root, tmp_path_factory):
    """A training run of three folds, as ``medkit train`` leaves it, with weights that differ."""
    folder = tmp_path_factory.mktemp("runs") / "tiny_segmentation" / "cv"
    own = torch.load(tiny_root / "models" / "model.pt", weights_only=True)
    for fold in (0, 1, 2):
        generator = torch.Generator().manual_seed(fold)
        noise = {name: torch.randn(value.shape, generator=generator) for name, value in own.items()}
        (folder / f"fold{fold}").mkdir(parents=True)
        torch.save(
            {name: value + 0.1 * noise[name] for name, value in own.items()},
            folder / f"fold{fold}" / "model.pt",
        )
    (folder / "all").mkdir()
    (folder / "run.json").write_text(json.dumps({"folds": [0, 1, 2, None]}))
    return folder


def soft(bundle):
    return bundle.predict(IMAGE, np.eye(4), probabilities=True).probabilities


def test_folds_come_in_order(run, tmp_path):
    assert [path.parent.name for path in fold_weights(run)] == ["fold0", "fold1", "fold2"]
    for fold in (10, 9, 2):
        (tmp_path / f"fold{fold}").mkdir()
        (tmp_path / f"fold{fold}" / "model.pt").write_bytes(b"")
    assert [path.parent.name for path in fold_weights(tmp_path)] == ["fold2", "fold9", "fold10"]


def test_unfinished_folds_are_named(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "cv")
    (copy / "fold1" / "model.pt").unlink()
    with pytest.raises(UsageError, match=r"weights of every fold, got none of fold1; .* --resume cv"):
        fold_weights(copy)


@pytest.mark.parametrize("left", [[], ["fold0"]])
def test_folders_of_no_cross_validation_are_refused(run, tmp_path, left):
    for name in left:
        shutil.copytree(run / name, tmp_path / name)
    with pytest.raises(UsageError, match=f"expected a training of several folds .* got {len(left)}"):
        fold_weights(tmp_path)
    with pytest.raises(UsageError, match="got 0"):
        fold_weights(tmp_path / "nowhere")


def test_mean_of_probabilities(tiny_root, run):
    files = fold_weights(run)
    alone = [soft(medkit.load(tiny_root, weights=[file])) for file in files]
    assert np.abs(alone[0] - alone[1]).max() > 0.01, "members that agree show nothing"
    together = medkit.load(tiny_root, weights=files)
    np.testing.assert_allclose(soft(together), np.mean(alone, axis=0), atol=1e-5)
    np.testing.assert_allclose(soft(together), np.mean(alone, axis=0), atol=1e-5, err_msg="a second time")


def test_mean_of_overlapping_masks(tiny_root, run, tmp_path):
    root = with_masks(with_names(tiny_root, tmp_path, {"0": "core", "1": "whole", "2": "rim"}))
    files = fold_weights(run)[:2]
    alone = [soft(medkit.load(root, weights=[file])) for file in files]
    np.testing.assert_allclose(soft(medkit.load(root, weights=files)), np.mean(alone, axis=0), atol=1e-5)


def test_one_file_takes_the_place_of_the_bundles_own(tiny_root, run):
    own = tiny_root / "models" / "model.pt"
    plain = medkit.load(tiny_root)
    same = medkit.load(tiny_root, weights=[own])
    np.testing.assert_array_equal(soft(plain), soft(same))
    assert (
        np.abs(soft(plain) - soft(medkit.load(tiny_root, weights=[run / "fold0" / "model.pt"]))).max() > 0.01
    )


def test_bundle_without_weights_of_its_own(tiny_root, run, tmp_path):
    root = shutil.copytree(tiny_root, tmp_path / "bare")
    shutil.rmtree(root / "models")
    assert soft(medkit.load(root, weights=fold_weights(run))).shape == (3, *IMAGE.shape)


def test_networks_and_mirror_images_together(tiny_root, run):
    files = fold_weights(run)[:2]
    alone = [soft(medkit.load(tiny_root, weights=[file], flips="LR")) for file in files]
    bundle = medkit.load(tiny_root, weights=files, flips="LR")
    assert len(bundle.members) == 4
    np.testing.assert_allclose(soft(bundle), np.mean(alone, axis=0), atol=1e-5)


def test_networks_that_disagree_are_less_sure(tiny_root, run):
    result = medkit.load(tiny_root, weights=fold_weights(run)).predict(IMAGE, np.eye(4), uncertainty=True)
    found = result.uncertainty.structures.values()
    assert any(structure.pairwise_dice is not None and structure.pairwise_dice < 1 for structure in found)
    assert any(structure.volume_cv for structure in found)


def test_provenance_names_each_file_and_the_digest_tells_them_apart(tiny_root, run):
    files = fold_weights(run)
    made = medkit.load(tiny_root, weights=files).provenance
    assert made["weights"] == [{"path": str(file), "sha256": hash_files([file])} for file in files]
    choices = [(), files[:1], files[:2], files, [tiny_root / "models" / "model.pt"]]
    assert len({medkit.load(tiny_root, weights=chosen).digest for chosen in choices}) == len(choices)


def test_results_of_other_networks_are_not_finished(tiny_root, run, tmp_path):
    (tmp_path / "images").mkdir()
    write_hippocampus(tmp_path / "images" / "a.nii.gz")

    def outcome(weights, force=False):
        bundle, cases = medkit.load(tiny_root, weights=weights), find_cases([tmp_path / "images"])
        return predict_cases(bundle, cases, tmp_path / "out", RunOptions(pictures=False, force=force))[0]

    files = fold_weights(run)
    assert [outcome(files).status, outcome(files).status] == ["done", "skipped"]
    with pytest.raises(UsageError, match=r"bundle_digest [0-9a-f]{12}, now [0-9a-f]{12}"):
        outcome(files[:2])
    assert outcome(files[:2], force=True).status == "done"
    assert outcome((), force=True).status == "done"
    assert "weights" not in outcome(()).record


def test_image_that_was_trained_on_is_remarked_on(tiny_root, run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "cv")
    (tmp_path / "images").mkdir()
    for number, name in enumerate(("a", "a.b")):
        write_hippocampus(tmp_path / "images" / f"{name}.nii.gz", seed=number)
    seen = hash_files([tmp_path / "images" / "a.nii.gz"])
    other_hash = hash_files([tmp_path / "images" / "a.b.nii.gz"])
    for fold in (1, 2):
        record = {
            "train_cases": ["a"],
            "data_sha256": {"images/a.nii.gz": seen, "images/a.b.nii.gz": other_hash},
        }
        (folder / f"fold{fold}" / "record.json").write_text(json.dumps(record))
    (folder / "fold0" / "record.json").write_text("damaged")
    bundle = medkit.load(tiny_root, weights=fold_weights(folder))
    outcomes = predict_cases(bundle, find_cases([tmp_path / "images"]), tmp_path / "out", RunOptions())
    ((trained_on,), (other,)) = (
        next(outcome.record["notes"] for outcome in outcomes if outcome.case.name == name)
        for name in ("a", "a.b")
    )
    assert trained_on.startswith("2 of 3 networks were trained on this image")
    assert other.startswith("the mean of 3 networks: score it only on cases that none of them was trained on")
    assert bundle.predict(tmp_path / "images" / "a.nii.gz").notes == (trained_on,)
    (alone,) = (
        medkit.load(tiny_root, weights=[folder / "fold1" / "model.pt"])
        .predict(tmp_path / "images" / "a.nii.gz")
        .notes
    )
    assert alone == "the network was trained on this image: no score of it says how good it is"


def test_image_that_the_bundles_own_network_was_trained_on_is_remarked_on(tiny_root, run, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for number, name in enumerate(("seen", "new")):
        write_hippocampus(images / f"{name}.nii.gz", seed=number)
    root = shutil.copytree(tiny_root, tmp_path / "own")
    told = {"images_sha256": [hash_files([images / "seen.nii.gz"])]}
    edit_json(root / "configs" / "metadata.json", lambda metadata: metadata.update(training=told))
    bundle, note = (
        medkit.load(root),
        "the network was trained on this image: no score of it says how good it is",
    )
    outcomes = predict_cases(bundle, find_cases([images]), tmp_path / "out", RunOptions(pictures=False))
    assert {outcome.case.name: outcome.record["notes"] for outcome in outcomes} == {"seen": [note], "new": []}
    assert bundle.predict(images / "seen.nii.gz").notes == (note,)
    assert bundle.predict(images / "new.nii.gz").notes == ()
    assert medkit.load(root, weights=fold_weights(run)[:1]).predict(images / "seen.nii.gz").notes == ()


def test_images_of_a_training_are_known_wherever_they_lay(run, tmp_path):
    """Such as ``t1/CASE_T1.nii.gz``, which no name of a case tells."""
    record = {"train_cases": ["a"], "data_sha256": {"t1/a_T1.nii.gz": "11"}, "images_sha256": ["11"]}
    (tmp_path / "record.json").write_text(json.dumps(record))
    assert WeightsFile(tmp_path / "model.pt").trained_on == {"11"}


@pytest.mark.parametrize("training", [None, "long", {}, {"images_sha256": "11"}, {"images_sha256": ["11"]}])
def test_metadata_that_tell_no_images_are_taken_as_they_are(training):
    found = own_images({"training": training})
    assert found == ({"11"} if training == {"images_sha256": ["11"]} else set())


def test_missing_and_foreign_files_are_refused(tiny_root, run, tmp_path):
    with pytest.raises(UsageError, match=r"nowhere.pt: expected a file of weights, got none"):
        medkit.load(tiny_root, weights=[*fold_weights(run), tmp_path / "nowhere.pt"])
    with pytest.raises(UsageError, match=r"the weights are missing: .*nowhere.pt"):
        medkit.load(tiny_root, weights=[tmp_path / "nowhere.pt"])
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(UsageError, match=r"expected a checkpoint that torch.load reads"):
        medkit.load(tiny_root, weights=[tmp_path / "text.pt"])
    torch.save({"x": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(UsageError, match="the weights do not fit the network"):
        medkit.load(tiny_root, weights=[tmp_path / "other.pt"])


def test_weights_that_are_named_twice_are_refused(tiny_root, run, tmp_path):
    first, second, _ = fold_weights(run)
    shutil.copyfile(first, tmp_path / "copy.pt")
    for again in (first, tmp_path / "copy.pt"):
        with pytest.raises(
            UsageError, match=f"{again}: expected weights of another network than those in {first}"
        ):
            medkit.load(tiny_root, weights=[first, second, again])


def test_bundle_without_an_activation_is_refused(tiny_root, run, tmp_path):
    root = with_steps(with_names(tiny_root, tmp_path), {}, {"argmax": True})
    with pytest.raises(
        UsageError, match="expected NativeLabelsd with softmax, or Activationsd with softmax or sigmoid"
    ):
        medkit.load(root, weights=fold_weights(run))


def test_bundle_that_loads_several_files_is_refused(tiny_root, run, tmp_path):
    root = shutil.copytree(tiny_root, tmp_path / "two")

    def twice(config):
        config["handlers"] = ["@checkpointloader", {**config["checkpointloader"]}]
        config["loaders"] = config.pop("checkpointloader")
        config["handlers"][0] = "@loaders"

    edit_json(root / "configs" / "inference.json", twice)
    medkit.load(root)
    with pytest.raises(UsageError, match=r"expected one CheckpointLoader, .* got 2"):
        medkit.load(root, weights=[run / "fold0" / "model.pt"])


def test_real_bundle_with_its_own_weights_and_a_rounded_copy(real_data, tmp_path):
    """Two networks that differ by next to nothing agree with the bundle itself."""
    path = sorted((real_data / "hippocampus" / "images").glob("*.nii.gz"))[0]
    plain = medkit.load(BUNDLE)
    own = plain.folder.weights
    weights = {name: value.bfloat16() for name, value in torch.load(own, weights_only=True).items()}
    torch.save(weights, tmp_path / "rounded.pt")
    result = medkit.load(BUNDLE, weights=[own, tmp_path / "rounded.pt"]).predict(path, uncertainty=True)
    expected = plain.predict(path).labels
    assert set(np.unique(expected)) == {0, 1, 2}
    assert (result.labels != expected).mean() < 0.001
    assert all(found.pairwise_dice > 0.98 for found in result.uncertainty.structures.values())
    assert Path(result.provenance["weights"][1]["path"]).name == "rounded.pt"
    assert nib.load(path).shape == result.labels.shape
