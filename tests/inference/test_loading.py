"""Bundles come to life as they were asked for, and say what stands in the way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medkit.bundle.store import BundleFolder
from medkit.errors import UsageError
from medkit.inference.loading import load_bundle
from tests.phantoms import PLAIN, SHAPE, hippocampus
from tests.random_numbers import draw, seed
from tests.tiny_bundle import edit_json, make_tiny_bundle

IMAGE, _ = hippocampus(affine=PLAIN)


def test_overrides_take_effect(tiny_root, labels):
    coarse = load_bundle(tiny_root, overrides={"spacing": [4.0, 4.0, 4.0]})
    assert coarse.predict(IMAGE, PLAIN).labels.shape == SHAPE
    assert not np.array_equal(coarse.predict(IMAGE, PLAIN).labels, labels)


def test_loading_leaves_the_random_numbers_of_the_caller_alone():
    """The bundle seeds all of them: it calls ``set_determinism`` to initialise."""
    seed(5)
    expected = draw()
    seed(5)
    load_bundle("hippocampus_segmentation_unet")
    assert draw() == expected


def test_a_device_for_a_bundle_that_has_no_place_for_one(tmp_path):
    root = make_tiny_bundle(tmp_path)
    path = root / "configs" / "inference.json"
    path.write_text(path.read_text().replace("@device", "@place"))
    edit_json(path, lambda config: config.update(place=config.pop("device")))
    with pytest.raises(
        UsageError, match=r"^--device cpu: expected a 'device' in .*inference\.json"
    ) as caught:
        load_bundle(root, device="cpu")
    assert "leave --device out" in str(caught.value)
    assert load_bundle(root, overrides={"place": "$torch.device('cpu')"}).network is not None


def test_weights_from_elsewhere_are_part_of_the_identity(tmp_path):
    root = make_tiny_bundle(tmp_path / "bundle")
    other = tmp_path / "other.pt"
    overrides = {"checkpointloader::load_path": str(other)}
    weights = torch.load(root / "models" / "model.pt", weights_only=True)
    digests = [load_bundle(root).digest]
    for factor in (1, 2):
        torch.save({name: value * factor for name, value in weights.items()}, other)
        digests.append(load_bundle(root, overrides=overrides).digest)
    assert len(set(digests)) == 3
    assert digests[0] == BundleFolder(root).digest()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hippocampus_segmentation", {}, "did you mean 'hippocampus_segmentation_unet'"),
        ("hippocampus_segmentation_unet", {"overrides": {"inferer::overlp": 1}}, "did you mean 'overlap'"),
        ("hippocampus_segmentation_unet", {"device": "cuda:99"}, "cannot be used here"),
        ("hippocampus_segmentation_unet", {"device": "nonsense"}, "cannot be used here"),
    ],
)
def test_what_cannot_be_loaded(name, options, message):
    with pytest.raises(UsageError, match=message):
        load_bundle(name, **options)
