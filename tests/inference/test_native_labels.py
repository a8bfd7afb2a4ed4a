"""Windows straight to native labels: the labels of the two steps apart, in a plain MONAI config, in little memory."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.inferers import SlidingWindowInferer
from monai.transforms import Compose, Orientationd, Spacingd

import medkit
from medkit.data import read_volume
from medkit.errors import UsageError
from medkit.inference.memory import estimate_bytes
from medkit.inference.native_labels import NativeLabelInferer
from medkit.inference.sliding_window import SlabInferer
from medkit.transforms.native_labels import NativeLabelsd
from tests.largest_tensor import LargestTensor
from tests.phantoms import OBLIQUE, write_hippocampus
from tests.tiny_bundle import edit_json, make_tiny_bundle, other_weights
from tests.transforms.monai_way import assert_same_but_for_ties, monai_probabilities

WINDOWS = {"roi_size": (8, 6, 7), "sw_batch_size": 2, "overlap": 0.5, "mode": "gaussian"}


def preprocessing(**options):
    steps = [
        Orientationd("image", axcodes="LPS", labels=None),
        Spacingd("image", (1.1, 1.4, 0.9), mode="bilinear", **options),
    ]
    return Compose(steps)


def make_network(classes=4):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = torch.nn.Conv3d(1, classes, 3, padding=1)
    network.weight.data *= 4
    return network.requires_grad_(False)


def make_batch(transform, number=1, shape=(13, 11, 9)):
    generator = torch.Generator().manual_seed(0)
    images = [
        MetaTensor(torch.randn(1, *shape, generator=generator), affine=torch.from_numpy(OBLIQUE))
        for _ in range(number)
    ]
    return list_data_collate([transform({"image": image}) for image in images])


@pytest.mark.parametrize("options", [{}, {"diagonal": True}], ids=["straight", "turned"])
@pytest.mark.parametrize("number", [1, 2])
def test_labels_are_those_of_the_steps_apart(options, number):
    transform, network = preprocessing(**options), make_network()
    batch = make_batch(transform, number)
    found = NativeLabelInferer(SlabInferer(**WINDOWS), transform, softmax=True)(batch["image"], network)
    assert found.shape == (number, 1, 13, 11, 9)
    batch["pred"] = SlabInferer(**WINDOWS)(batch["image"], network)
    step = NativeLabelsd("pred", transform, "image", softmax=True)
    for labels, item in zip(decollate_batch(found), decollate_batch(batch), strict=True):
        apart = step(item)["pred"]
        assert torch.equal(labels.as_tensor(), apart.as_tensor())
        np.testing.assert_allclose(labels.affine, OBLIQUE)
        assert len(labels.unique()) > 1


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("roi", [(1, 4, 4), (1, -1, -1), (1, 5, 3), (2, 4, 4)])
def test_windows_of_few_planes(roi, softmax):
    """The sum of such windows is written over from plane to plane."""
    transform, network = preprocessing(), make_network()
    batch = make_batch(transform)
    windows = SlabInferer(roi, overlap=0)
    found = NativeLabelInferer(windows, transform, softmax=softmax)(batch["image"], network)
    batch["pred"] = windows(batch["image"], network)
    (item,) = decollate_batch(batch)
    apart = NativeLabelsd("pred", transform, "image", softmax=softmax)(item)["pred"]
    assert torch.equal(found[0].as_tensor(), apart.as_tensor())


def test_labels_are_those_of_monai():
    transform, network = preprocessing(), make_network()
    batch = make_batch(transform)
    found = NativeLabelInferer(SlabInferer(**WINDOWS), transform, softmax=True)(batch["image"], network)
    batch["pred"] = SlidingWindowInferer(**WINDOWS)(batch["image"], network)
    (item,) = decollate_batch(batch)
    assert_same_but_for_ties(found[0, 0].as_tensor(), monai_probabilities(item, transform), tie=1e-4)


def test_no_scores_of_the_whole_are_held():
    transform, network = Compose([Spacingd("image", (1.0, 1.0, 1.0))]), make_network(6)
    image = MetaTensor(torch.randn(1, 160, 12, 10), affine=torch.diag(torch.tensor([1.5, 1.5, 1.5, 1])))
    batch = list_data_collate([transform({"image": image})])
    whole = batch["image"].numel() * 6
    inferer = NativeLabelInferer(SlabInferer((16, 18, 15), overlap=0.5), transform, softmax=True)
    with LargestTensor() as largest:
        inferer(batch["image"], network)
    assert largest.elements < whole / 5


def test_plain_monai_writes_them_to_a_file(tmp_path):
    (tmp_path / "in").mkdir()
    write_hippocampus(tmp_path / "in" / "a.nii")
    config = {
        "imports": ["$import medkit.data as medkit_data", "$import torch"],
        "network": "$torch.nn.Conv3d(1, 3, 3, padding=1)",
        "preprocessing": {"_target_": "Compose", "transforms": ["@load", "@space"]},
        "load": {
            "_target_": "LoadImaged",
            "keys": "image",
            "reader": "medkit.data.VolumeReader",
            "ensure_channel_first": True,
        },
        "space": {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 1.5]},
        "dataset": {
            "_target_": "Dataset",
            "data": [{"image": str(tmp_path / "in" / "a.nii")}],
            "transform": "@preprocessing",
        },
        "windows": {"_target_": "medkit.inference.sliding_window.SlabInferer", "roi_size": [8, 8, 8]},
        "inferer": {
            "_target_": "medkit.inference.native_labels.NativeLabelInferer",
            "windows": "@windows",
            "transform": "@preprocessing",
            "softmax": True,
        },
        "save": {
            "_target_": "SaveImaged",
            "keys": "pred",
            "output_dir": str(tmp_path / "out"),
            "output_postfix": "",
            "separate_folder": False,
            "writer": "$medkit_data.LabelWriter",
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "$torch.device('cpu')",
            "val_data_loader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": {"_target_": "Compose", "transforms": ["@save"]},
        },
    }
    torch.manual_seed(0)
    ConfigParser(config).get_parsed_content("evaluator").run()
    (written,) = (tmp_path / "out").glob("a.nii*")
    found, source = read_volume(written), read_volume(tmp_path / "in" / "a.nii")
    assert found.array.shape == source.array.shape
    np.testing.assert_array_equal(nib.load(written).affine, nib.load(tmp_path / "in" / "a.nii").affine)
    assert len(np.unique(found.array)) > 1


def joined(config):
    """The change that CONTRIBUTING.md shows."""
    config["windows"] = config["inferer"]
    config["native_labels"] = {
        "_target_": "medkit.inference.native_labels.NativeLabelInferer",
        "windows": "@windows",
        "transform": "@preprocessing",
        "softmax": True,
    }
    config["inferer"] = "@native_labels"
    config["postprocessing"]["transforms"] = ["@save_labels"]


def test_bundle_with_both_joined_predicts_the_same(tiny, tmp_path):
    root = make_tiny_bundle(tmp_path)
    edit_json(root / "configs" / "inference.json", lambda config: config.update(patch_size=[16, 16, 16]))
    edit_json(root / "configs" / "inference.json", joined)
    bundle = medkit.load(root)
    write_hippocampus(tmp_path / "a.nii")
    found, expected = (one.predict(tmp_path / "a.nii") for one in (bundle, tiny))
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert len(np.unique(found.labels)) > 1
    assert found.grid == expected.grid
    for asked in ("probabilities", "uncertainty"):
        with pytest.raises(UsageError, match=f"class scores, for {asked}, got NativeLabelInferer"):
            bundle.predict(tmp_path / "a.nii", **{asked: True})
    with pytest.raises(UsageError, match="class scores, for flips, got NativeLabelInferer"):
        medkit.load(root, flips="LR")
    weights = [root / "models" / "model.pt", other_weights(root, tmp_path / "other.pt")]
    with pytest.raises(UsageError, match="class scores, for several networks, got NativeLabelInferer"):
        medkit.load(root, weights=weights)
    assert estimate_bytes(bundle, found.grid, 1) == estimate_bytes(tiny, found.grid, 1)


def test_image_without_metadata():
    inferer = NativeLabelInferer(SlabInferer(8), preprocessing(), softmax=True)
    with pytest.raises(UsageError, match="expected an image with metadata"):
        inferer(torch.zeros(1, 1, 9, 9, 9), make_network())


def test_scores_that_are_not_finite():
    transform = preprocessing()
    inferer = NativeLabelInferer(SlabInferer(8), transform, softmax=True)
    with pytest.raises(UsageError, match="expected finite numbers in the network's output"):
        inferer(make_batch(transform)["image"], lambda x: make_network()(x) / 0)


def test_network_of_one_class():
    """The greatest of one score is that of class 0 everywhere, whatever the score."""
    transform = preprocessing()
    inferer = NativeLabelInferer(SlabInferer(8), transform, softmax=False)
    with pytest.raises(
        UsageError, match="expected a network that gives scores of two classes or more, got 1"
    ):
        inferer(make_batch(transform)["image"], make_network(1))


def test_files_of_several_shapes_in_a_batch():
    transform = Compose([Spacingd("image", (2.0, 2.0, 2.0))])
    images = [
        MetaTensor(torch.randn(1, n, 8, 8), affine=torch.diag(torch.tensor([16 / n, 2.0, 2, 1])))
        for n in (8, 9)
    ]
    items = [transform({"image": image}) for image in images]
    smallest = min(len(item["image"][0]) for item in items)
    for item in items:
        item["image"] = item["image"][:, :smallest]
    batch = list_data_collate(items)
    inferer = NativeLabelInferer(SlabInferer(4), transform, softmax=True)
    with pytest.raises(UsageError, match="expected images of one shape in a batch"):
        inferer(batch["image"], make_network())
