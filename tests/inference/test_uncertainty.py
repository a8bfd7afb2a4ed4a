"""How sure: entropy within its bounds, known answers of networks that are known, and files that say so."""

from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import entropy as scipy_entropy
from scipy.stats import variation

import medkit
from medkit.data import find_cases
from medkit.errors import UsageError
from medkit.inference.run import RunOptions, predict_cases
from medkit.inference.uncertainty import Agreement, Confidence, voxel_entropy
from tests.inference.lateral import Fixed, with_masks, with_names, with_steps
from tests.phantoms import write_hippocampus

SHAPE = (9, 8, 7)
LOGITS = hnp.arrays(np.float32, (4, 3, 2, 2), elements=st.floats(-30, 30, width=32))


@given(logits=LOGITS)
def test_entropy_of_exclusive_classes_is_that_of_scipy(logits):
    soft = torch.from_numpy(logits).softmax(0)
    found = voxel_entropy(soft, "softmax")
    assert found.shape == (1, 3, 2, 2)
    assert 0 <= found.min() <= found.max() <= 1
    np.testing.assert_allclose(found[0], scipy_entropy(soft.numpy(), base=4, axis=0), atol=1e-5)


@given(logits=LOGITS)
def test_entropy_of_overlapping_masks_is_that_of_each(logits):
    soft = torch.from_numpy(logits).sigmoid()
    found = voxel_entropy(soft, "sigmoid")
    assert found.shape == soft.shape
    assert 0 <= found.min() <= found.max() <= 1
    both = np.stack([soft.numpy(), 1 - soft.numpy()])
    np.testing.assert_allclose(found, scipy_entropy(both, base=2, axis=0), atol=1e-5)


def test_entropy_at_its_ends():
    assert voxel_entropy(torch.full((5, 1, 1, 1), 0.2), "softmax").item() == pytest.approx(1)
    assert voxel_entropy(torch.tensor([1.0, 0, 0]).view(3, 1, 1, 1), "softmax").item() == 0
    assert voxel_entropy(torch.full((1, 1, 1, 1), 0.5), "sigmoid").item() == pytest.approx(1)
    assert voxel_entropy(torch.tensor([1.0, 0.0]).view(2, 1, 1, 1), "sigmoid").max() == 0


def test_rounding_beyond_the_ends_is_no_entropy():
    beyond = torch.tensor([1 + 1e-6, -1e-6]).view(2, 1, 1, 1)
    assert voxel_entropy(beyond, "softmax").max() == 0
    assert voxel_entropy(beyond, "sigmoid").max() == 0


@given(members=hnp.arrays(np.bool_, st.tuples(st.integers(2, 4), st.just(60)), elements=st.booleans()))
def test_spread_is_that_of_plain_counting(members):
    agreement = Agreement("sigmoid")
    for mask in members:
        agreement.begin_member()
        for block in np.split(mask.reshape(1, 1, 10, 3, 2), [3, 9], axis=2):
            agreement.add(torch.from_numpy(block.astype(np.float32)))
    sizes = members.sum(1)
    found = agreement.spread(0)
    if not sizes.any():
        assert found == (None, None)
        return
    dice = [
        2 * (one & other).sum() / (one.sum() + other.sum())
        for number, one in enumerate(members)
        for other in members[:number]
        if one.any() or other.any()
    ]
    assert found == (pytest.approx(variation(sizes, ddof=1)), pytest.approx(np.mean(dice)))


def test_members_of_exclusive_classes_are_taken_at_their_likeliest():
    agreement = Agreement("softmax")
    for chances in ([0.4, 0.35, 0.25], [0.3, 0.4, 0.3]):
        agreement.begin_member()
        agreement.add(torch.tensor(chances).view(1, 3, 1, 1, 1))
    assert agreement.spread(1) == (pytest.approx(2**0.5), 0.0)
    assert agreement.spread(2) == (None, None)


def test_one_member_has_no_spread():
    agreement = Agreement("sigmoid")
    agreement.begin_member()
    agreement.add(torch.ones(1, 1, 2, 2, 2))
    assert agreement.spread(0) == (None, None)


def test_known_network(tiny_root):
    """Half of the voxels hold the first structure with a chance of 3/4; nothing holds the second."""
    bundle = medkit.load(tiny_root)
    sure, doubtful = torch.tensor([1.0, 0, 0]), torch.tensor([0.25, 0.75, 0])

    def network(image):
        chances = torch.where(image[:, :1] > 0, doubtful.view(1, 3, 1, 1, 1), sure.view(1, 3, 1, 1, 1))
        return chances.clamp(min=1e-30).log()

    bundle.network = Fixed(network)
    image = np.zeros(SHAPE)
    image[:4] = 1
    result = bundle.predict(image, np.diag([1.0, 2, 1, 1]), uncertainty=True)
    assert result.probabilities is None
    found = result.uncertainty.structures["anterior hippocampus"]
    assert result.volumes_ml["anterior hippocampus"] > 0
    assert result.uncertainty.entropy.shape == result.labels.shape
    inside = result.labels == 1
    expected = scipy_entropy([0.25, 0.75], base=3)
    deep = np.zeros(SHAPE, bool)
    deep[:3] = True
    np.testing.assert_allclose(result.uncertainty.entropy[deep], expected, atol=1 / 1024)
    assert found.mean_entropy == pytest.approx(result.uncertainty.entropy[inside].mean(), abs=1e-6)
    assert found.expected_ml == pytest.approx(0.75 * 4 * 8 * 7 * 2 / 1000, rel=0.02)
    assert (found.volume_cv, found.pairwise_dice) == (None, None), "one member has nobody to agree with"
    empty = result.uncertainty.structures["posterior hippocampus"]
    assert empty.mean_entropy is None
    assert empty.expected_ml == pytest.approx(0, abs=1e-6)


def test_mirrored_copies_that_disagree(tiny_root):
    """A network that marks the first two planes, whatever they show: with its mirror image it never agrees."""
    bundle = medkit.load(tiny_root, flips="LR", overrides={"patch_size": [-1, -1, -1]})

    def network(image):
        logits = torch.full((1, 3, *image.shape[2:]), -20.0)
        logits[:, 0] = 0
        logits[:, 1, :2] = 20
        return logits

    bundle.network = Fixed(network)
    found = bundle.predict(np.indices((4, 5, 6))[0], np.eye(4), uncertainty=True).uncertainty
    assert found.structures["anterior hippocampus"].pairwise_dice == 0
    assert found.structures["anterior hippocampus"].volume_cv == 0
    np.testing.assert_allclose(found.entropy, scipy_entropy([0.5, 0.5], base=3), atol=1 / 1024)
    half = bundle.predict(np.indices((3, 5, 6))[0], np.eye(4), uncertainty=True).uncertainty
    assert half.structures["anterior hippocampus"].pairwise_dice == 0.5
    assert half.structures["anterior hippocampus"].expected_ml == pytest.approx(2 * 30 / 1000, rel=1e-3)


def test_overlapping_masks(tiny_root, tmp_path):
    root = with_masks(with_names(tiny_root, tmp_path, {"0": "core", "1": "whole", "2": "rim"}))
    result = medkit.load(root).predict(
        np.random.default_rng(0).random(SHAPE), np.eye(4), probabilities=True, uncertainty=True
    )
    assert result.uncertainty.entropy.shape == (*SHAPE, 3)
    both = np.stack([result.probabilities, 1 - result.probabilities])
    expected = np.moveaxis(scipy_entropy(both, base=2, axis=0), 0, -1)
    np.testing.assert_allclose(result.uncertainty.entropy, expected, atol=1e-3)
    for channel, name in enumerate(("core", "whole", "rim")):
        found = result.uncertainty.structures[name]
        assert found.expected_ml == pytest.approx(result.probabilities[channel].sum() / 1000, rel=1e-4)


def test_values_that_a_bundle_folds_masks_into_have_no_probability_of_their_own():
    confidence = Confidence(torch.rand(3, 2, 2, 2), "sigmoid")
    found = confidence.judge(np.full((2, 2, 2), 4, np.uint8), {4: "label 4"}, 1.0, None)
    assert found.structures["label 4"].expected_ml is None
    assert found.structures["label 4"].mean_entropy is None
    assert found.entropy.shape == (2, 2, 2)


def test_bundle_without_probabilities_is_refused(tiny_root, tmp_path):
    bundle = medkit.load(with_steps(with_names(tiny_root, tmp_path), {}, {"argmax": True}))
    with pytest.raises(
        UsageError, match="expected NativeLabelsd with softmax, or Activationsd with softmax or sigmoid"
    ):
        bundle.predict(np.indices(SHAPE)[0], np.eye(4), uncertainty=True)


def test_files_of_a_run(tiny_root, tmp_path):
    (tmp_path / "images").mkdir()
    for name in "ab":
        write_hippocampus(tmp_path / "images" / f"{name}.nii.gz")
    bundle, out = medkit.load(tiny_root, flips="LR"), tmp_path / "out"
    cases = find_cases([tmp_path / "images"])
    predict_cases(bundle, cases, out, RunOptions())
    assert not (out / "uncertainty.csv").exists()
    outcomes = predict_cases(bundle, cases, out, RunOptions(uncertainty=True))
    assert [outcome.status for outcome in outcomes] == ["done", "done"]
    record = json.loads((out / "cases" / "a.json").read_text())
    entropy = nib.load(out / record["outputs"]["uncertainty"])
    labels = nib.load(out / record["outputs"]["labels"])
    np.testing.assert_array_equal(entropy.affine, labels.affine)
    assert entropy.shape == labels.shape
    assert 0 <= entropy.get_fdata().min() < entropy.get_fdata().max() <= 1
    rows = list(csv.DictReader((out / "uncertainty.csv").open()))
    assert [(row["case"], row["structure"]) for row in rows[:2]] == [
        ("a", "anterior hippocampus"),
        ("a", "posterior hippocampus"),
    ]
    columns = {"mean entropy": "mean_entropy", "mean pairwise Dice": "pairwise_dice"}
    shown = [
        (row[text], record["uncertainty"][row["structure"]][key])
        for row in rows[:2]
        for text, key in columns.items()
    ]
    assert all(text == ("" if number is None else f"{number:.4f}") for text, number in shown)
    assert any(text for text, _ in shown)
    again = predict_cases(bundle, cases, out, RunOptions(uncertainty=True))
    assert [outcome.status for outcome in again] == ["skipped", "skipped"]
    predict_cases(bundle, cases, out, RunOptions(force=True))
    assert not (out / "uncertainty.csv").exists()
    assert not list((out / "uncertainty").iterdir())


def test_real_hippocampus_is_doubtful_at_its_border(real_data):
    from scipy.ndimage import binary_dilation, binary_erosion

    path = sorted((real_data / "hippocampus" / "images").glob("*.nii.gz"))[0]
    result = medkit.load("hippocampus_segmentation_unet", flips="LR").predict(path, uncertainty=True)
    inside = result.labels > 0
    border = binary_dilation(inside) & ~binary_erosion(inside)
    entropy = result.uncertainty.entropy
    assert entropy[border].mean() > 5 * entropy[~border].mean()
    for name, found in result.uncertainty.structures.items():
        assert found.expected_ml == pytest.approx(result.volumes_ml[name], rel=0.1)
        assert 0.9 < found.pairwise_dice < 1
        assert 0 <= found.volume_cv < 0.1
