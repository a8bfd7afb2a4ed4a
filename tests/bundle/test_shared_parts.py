from pathlib import Path

import pytest

from medkit.bundle.instance import read_config
from medkit.bundle.shared_parts import changed_parts, shared_config, shared_overrides, write_overrides
from medkit.bundle.store import BundleFolder, find_bundle
from medkit.errors import UsageError
from tests.tiny_bundle import edit_json, make_tiny_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> BundleFolder:
    return BundleFolder(make_tiny_bundle(tmp_path))


def test_what_inference_shares_is_told_from_what_concerns_the_training(bundle: BundleFolder):
    shared = {
        "network_def": {"_target_": "DynUNet"},
        "network_def::filters": [4, 8, 8, 8],
        "spacing": [2, 2, 2],
        "orientation": "LPS",
        "patch_size": [32, 32, 32],
        "standardise": None,
        "inferer::overlap": 0.25,
    }
    own = {"dataset_dir": "/data", "epochs": 1, "device": "cpu", "postprocessing": None, "loss::batch": False}
    assert shared_overrides(bundle, {**shared, **own}) == shared


@pytest.mark.parametrize("name", ["glioma_segmentation_agunet", "brain_anatomy_segmentation"])
def test_every_bundle_shares_its_network(name: str):
    assert shared_overrides(find_bundle(name), {"network_def": 1, "epochs": 2}) == {"network_def": 1}


def test_they_are_written_into_all_configs(bundle: BundleFolder):
    write_overrides(bundle, {"spacing": [2, 2, 2], "network_def::filters": [4, 4, 4, 4]})
    for kind in ("inference", "train"):
        config = read_config(bundle, kind)
        assert config["spacing"] == [2, 2, 2]
        assert config["network_def"]["filters"] == [4, 4, 4, 4]
    with pytest.raises(UsageError, match=r"configs/inference\.json; did you mean 'filters'"):
        write_overrides(bundle, {"network_def::filter": 3})


def test_configs_stay_as_they_are_where_nothing_changed(bundle: BundleFolder):
    before = bundle.config_path("inference").read_bytes()
    write_overrides(bundle, {})
    assert bundle.config_path("inference").read_bytes() == before


def test_differences_are_named_with_both_values(bundle: BundleFolder, tmp_path: Path):
    other = BundleFolder(make_tiny_bundle(tmp_path / "other"))
    assert changed_parts(read_config(bundle, "inference"), read_config(other, "inference")) == []
    edit_json(other.config_path("inference"), lambda config: config.update(output_dir="elsewhere"))
    assert changed_parts(read_config(bundle, "inference"), read_config(other, "inference")) == [], (
        "where results go changes no label"
    )
    changed = shared_config(other, {"spacing": [2, 2, 2], "inferer::overlap": 0.25, "epochs": 1})
    assert changed_parts(read_config(bundle, "inference"), changed) == [
        "inferer::overlap: 0.5 and 0.25",
        "spacing: [1.0, 1.0, 1.0] and [2, 2, 2]",
    ]
