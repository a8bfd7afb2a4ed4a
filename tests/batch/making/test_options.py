from __future__ import annotations

import shutil

import pytest

from medkit.batch.making import BundleSettings
from medkit.batch.making.options import option_faults
from medkit.errors import UsageError
from medkit.inference.loading import load_bundle
from tests.tiny_bundle import NAME, edit_json


def faults(root, device=None, **options):
    return option_faults({"brain": BundleSettings(location=root, **options)}, device)


def test_what_a_bundle_can_be_loaded_with_is_no_fault(tiny_root):
    given = {"overrides": {"inferer::overlap": 0.25}, "flips": "LR,AP"}
    assert faults(tiny_root, "cpu", **given) == []
    load_bundle(tiny_root, device="cpu", **given)
    assert option_faults({"hippocampus_segmentation_unet": BundleSettings(flips="LR")}, None) == []


def test_each_override_that_is_none_is_told_with_its_key(tiny_root):
    overrides = {"inferer::overlapp": 0.5, "inferer::overlap": "x", "inferer::sw_batch_size": 2}
    (first, misspelt), (second, wrong) = faults(tiny_root, overrides=overrides)
    assert first == ("bundles", "brain", "overrides", "inferer::overlapp")
    assert misspelt.startswith("'inferer' has no 'overlapp' in ")
    assert misspelt.endswith("; did you mean 'overlap'?")
    assert second == ("bundles", "brain", "overrides", "inferer::overlap")
    assert wrong.startswith("expected a number (now 0.5 in ")
    for key in list(overrides)[:2]:
        with pytest.raises(UsageError):
            load_bundle(tiny_root, overrides={key: overrides[key]})


def test_sides_that_cannot_change_places_are_told(tiny_root, tmp_path):
    root = shutil.copytree(tiny_root, tmp_path / NAME)

    def leave_one(metadata):
        metadata["network_data_format"]["outputs"]["pred"]["channel_def"]["1"] = "left kidney"

    edit_json(root / "configs" / "metadata.json", leave_one)
    ((place, fault),) = faults(root, flips="lr")
    assert place == ("bundles", "brain", "flips")
    assert "left kidney" in fault
    assert faults(root, flips="AP") == []
    with pytest.raises(UsageError, match="left kidney"):
        load_bundle(root, flips="LR")


def test_a_device_that_is_not_there_is_told_once_and_a_bundle_that_has_none_by_itself(tiny_root, tmp_path):
    root = shutil.copytree(tiny_root, tmp_path / NAME)
    edit_json(root / "configs" / "inference.json", lambda config: config.pop("device"))
    settings = {"brain": BundleSettings(location=tiny_root), "liver": BundleSettings(location=root)}
    (unusable, without) = option_faults(settings, "cuda:99")
    assert [place for place, _ in (unusable, without)] == [("device",)] * 2
    assert unusable[1].startswith("cuda:99: cannot be used here (")
    assert without[1].startswith(
        f"expected a 'device' in {root}/configs/inference.json, got a config without one"
    )
    assert [fault for _, fault in option_faults(settings, "cpu")] == [without[1]]
