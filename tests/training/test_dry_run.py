"""What a training would come to is told before it begins."""

import re
from pathlib import Path

import pytest
import torch

from medkit.bundle.instance import ConfigInstance
from medkit.bundle.store import BundleFolder, find_bundle
from medkit.errors import UsageError
from medkit.training.dry_run import check_training
from tests.tiny_bundle import edit_json, make_tiny_bundle

NETWORK = {"_target_": "medkit.networks.create", "spatial_dims": 3, "in_channels": 1, "out_channels": 3}
UNET = {**NETWORK, "name": "unet", "channels": [4, 8], "strides": [2]}
DEEP = {"network_def::deep_supervision": True, "network_def::deep_supr_num": 1}


@pytest.fixture
def bundle(tmp_path: Path) -> BundleFolder:
    return BundleFolder(make_tiny_bundle(tmp_path))


def check(bundle: BundleFolder, **overrides: object) -> None:
    overrides = {"patch_size": [24, 24, 24], "device": "$torch.device('cpu')", **overrides}
    if "sizes" in overrides:  # a key that inference does not have
        edit_json(bundle.config_path("train"), lambda config: config.update(sizes=None))
    check_training(bundle, ConfigInstance(bundle, "train", overrides), overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"batch_size": 1},
        {"network_def": UNET},
        {**DEEP, "loss": {"_target_": "medkit.losses.deep_supervision.DeepSupervisionLoss", "loss": {
            "_target_": "DiceCELoss", "softmax": True, "to_onehot_y": True}}},
    ],
)  # fmt: skip
def test_what_can_be_trained_passes_and_draws_no_random_number(bundle: BundleFolder, overrides):
    before = torch.random.get_rng_state()
    check(bundle, **overrides)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"network_def::out_channels": 5}, r"logits \(2, 3, 24, 24, 24\) .* got \(2, 5, 24, 24, 24\); change out"),
        ({"network_def::out_channels": 2}, r"logits \(2, 3, 24, 24, 24\) .* got \(2, 2, 24, 24, 24\)"),
        ({"network_def::in_channels": 3}, r"for patches \(2, 1, 24, 24, 24\) .* got RuntimeError: .*in_channels"),
        ({"network_def": {**UNET, "spatial_dims": 2}}, r"network for patches .* ValueError.*change spatial_dims"),
        ({"network": "segmamba"}, r"'network': expected a network, got str \('segmamba'\); change 'network_def'"),
        ({"network_def": {"name": "segmamba"}}, r"expected a network, got dict"),
        (DEEP, r"'loss': expected one that takes logits \(2, 2, 3, 24, 24, 24\) for patches"),
        ({"network_def": {**NETWORK, "name": "mednext", "deep_supervision": True}}, "expected one tensor of logits"),
        ({"patch_size": [20, 20, 20]}, r"network for patches \(2, 1, 20, 20, 20\)"),
        ({"inferer::roi_size": "@sizes", "sizes": [8, 8, 8]}, r"inference\.json: 'inferer' cannot be built: .*sizes"),
    ],
)  # fmt: skip
def test_what_cannot_is_one_line(bundle: BundleFolder, overrides, message):
    with pytest.raises(UsageError, match=message) as refused:
        check(bundle, **overrides)
    assert "\n" not in str(refused.value)
    assert re.search(r"train\.json|inference\.json", str(refused.value)), "which file"


def test_a_network_that_inference_would_not_have_is_refused(bundle: BundleFolder):
    edit_json(bundle.config_path("train"), lambda config: config["network_def"].update(filters=[8, 8, 8, 8]))
    with pytest.raises(
        UsageError, match=r"inference\.json: 'network_def': expected the network that is trained, got one"
    ):
        check(bundle)
    check(bundle, **{"network_def::filters": [4, 4, 4, 4]})


def test_a_bundle_whose_metadata_tell_no_channels_is_left_to_itself(bundle: BundleFolder):
    edit_json(bundle.config_path("metadata"), lambda metadata: metadata.pop("network_data_format"))
    check(BundleFolder(bundle.root), **{"network_def::out_channels": 5})


@pytest.mark.parametrize(
    ("name", "config"),
    [("brain_anatomy_segmentation", "train"), ("brain_extraction", "train"), ("glioma_segmentation_agunet", "train"),
     ("hippocampus_segmentation_mamba", "train")],
)  # fmt: skip
def test_every_bundle_passes(name: str, config: str, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("MEDKIT_DATA", str(tmp_path))
    bundle, small = find_bundle(name), {"device": "$torch.device('cpu')", "batch_size": 1}
    sizes = {"sample_size": [32, 32, 32]} if name.startswith("brain") else {}
    check_training(bundle, ConfigInstance(bundle, config, {**small, **sizes}), {})
