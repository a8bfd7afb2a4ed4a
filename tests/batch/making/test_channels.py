"""The inputs of a rule become channels by their names."""

from __future__ import annotations

import itertools
import json

import pytest

from medkit.batch.making.channels import channel_inputs, channel_order
from medkit.bundle.store import BundleFolder, find_bundle
from medkit.errors import UsageError

GLIOMA = "glioma_segmentation_agunet"
CHANNELS = ["flair", "t1-before-contrast-agent", "t1-after-contrast-agent"]


def folder_of(tmp_path, channels):
    (tmp_path / "configs").mkdir()
    metadata = {"network_data_format": {"inputs": {"image": {"channel_def": channels}}}}
    (tmp_path / "configs" / "metadata.json").write_text(json.dumps(metadata))
    return BundleFolder(tmp_path)


def test_names_are_those_of_the_channels():
    assert channel_inputs(find_bundle(GLIOMA)) == CHANNELS
    assert channel_inputs(find_bundle("hippocampus_segmentation_unet")) == ["t1-weighted-image"]


@pytest.mark.parametrize("inputs", itertools.permutations(CHANNELS))
def test_the_order_in_a_rule_says_nothing(inputs):
    assert channel_order(find_bundle(GLIOMA), inputs) == CHANNELS


def test_names_may_be_written_with_other_signs():
    inputs = ["FLAIR", "T1_after_contrast_agent", "T1.before.contrast.agent"]
    assert channel_order(find_bundle(GLIOMA), inputs) == [inputs[0], inputs[2], inputs[1]]


def test_a_single_input_may_have_any_name():
    assert channel_order(find_bundle("hippocampus_segmentation_unet"), ["image"]) == ["image"]


@pytest.mark.parametrize(
    "inputs", [["flair"], ["flair", "t1ce"], ["flair", "t1", "t2"], [*CHANNELS, "FLAIR"]]
)
def test_other_inputs_are_refused(inputs):
    with pytest.raises(UsageError, match=f"inputs of {GLIOMA}, {', '.join(CHANNELS)}, got "):
        channel_order(find_bundle(GLIOMA), inputs)


@pytest.mark.parametrize("channels", [None, {}, {"1": "T1"}, ["T1"], {"0": "T1", "1": "t1"}, {"0": "?"}])
def test_metadata_that_name_no_channels(tmp_path, channels):
    with pytest.raises(UsageError, match="channel_def: expected a name"):
        channel_inputs(folder_of(tmp_path, channels))
