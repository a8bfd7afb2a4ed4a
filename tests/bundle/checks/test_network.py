"""The network and its labels: they are what the metadata declare."""

from __future__ import annotations

import pytest

from tests.bundle.breaking import INFERENCE, METADATA, TRAIN, drop, put
from tests.bundle.checks.problems import expect, problems
from tests.tiny_bundle import save_weights


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("outputs::pred::dtype", "float16", ["outputs::pred::dtype", "float16"]),
     ("outputs::pred::dtype", "float33", ["outputs::pred::dtype", "float33"]),
     ("inputs::image::dtype", "float64", ["inputs::image", "does not run"]),
     ("inputs::image::spatial_shape", ["8*n", "8*n", "8*n"],
      ["inputs::image", "(1, 1, 8, 8, 8)", "spatial_shape"]),
     ("inputs::image::spatial_shape", ["12*n+4", 16, 16], ["inputs::image", "(1, 1, 28, 16, 16)"]),
     ("inputs::image::spatial_shape", ["8*m", 16, 16], ["spatial_shape", "cannot be read"]),
     ("inputs::image::num_channels", 2, ["inputs::image", "does not run"])],
)  # fmt: skip
def test_a_network_that_is_not_as_declared(tiny, key, value, words):
    put(tiny, METADATA, f"network_data_format::{key}", value)
    expect(tiny, "network", METADATA, *words, only=False)


def test_a_wrong_number_of_output_channels(tiny):
    put(tiny, METADATA, "network_data_format::outputs::pred::num_channels", 4)
    expect(tiny, "network", METADATA, "outputs::pred::num_channels", "declared 4", "gives 3")


def test_a_network_that_runs_once_for_each_side(tiny):
    names = {"0": "background", "1": "left a", "2": "left b", "3": "right a", "4": "right b"}
    put(tiny, METADATA, "sides", ["left", "right"])
    expect(tiny, "network", METADATA, "outputs::pred::num_channels", "declared 3", "gives 5", only=False)
    put(tiny, METADATA, "network_data_format::outputs::pred::num_channels", 5)
    put(tiny, METADATA, "network_data_format::outputs::pred::channel_def", names)
    for config in (INFERENCE, TRAIN):
        put(tiny, config, "label_names", names)
    assert not problems(tiny).keys() & {"network", "labels"}


def test_an_output_of_another_size(tiny):
    put(tiny, INFERENCE, "network_def", {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 3,
                                         "kernel_size": 3})  # fmt: skip
    expect(
        tiny, "network", METADATA, "outputs::pred::spatial_shape", "(16, 16, 16)", "(14, 14, 14)", only=False
    )


@pytest.mark.parametrize(
    ("target", "words"),
    [({"_target_": "torch.nn.LSTM", "input_size": 16, "hidden_size": 4}, ["does not run"]),
     ({"_target_": "monai.transforms.Identity"}, ["'network_def'", "torch.nn.Module"]),
     ({"_target_": "AutoEncoder", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [2, 4],
       "strides": [2, 2]}, ["network"])],
)  # fmt: skip
def test_a_network_of_another_kind(tiny, target, words):
    put(tiny, INFERENCE, "network_def", target)
    found = problems(tiny)
    assert any(all(word in line for word in words) for lines in found.values() for line in lines), found


@pytest.mark.parametrize(
    ("value", "words"),
    [({"0": "background", "1": "anterior hippocampus"}, ["channels 0 to 2", "[0, 1]"]),
     ({"1": "a", "2": "b", "3": "c"}, ["channels 0 to 2", "[1, 2, 3]"]),
     ({"0": "background", "1": "hippocampus", "2": "hippocampus"}, ["twice"]),
     ({"0": "background", "1": "left", "2": "right"}, ["label_names", "left"]),
     ({"zero": "background"}, ["expected"]),
     ({"0": "background", "1": " ", "2": "b"}, ["expected a name"]),
     ({}, ["expected a name"]),
     (["background", "a", "b"], ["expected"])],
)  # fmt: skip
def test_nonsense_in_the_names_of_the_channels(tiny, value, words):
    put(tiny, METADATA, "network_data_format::outputs::pred::channel_def", value)
    expect(tiny, "labels", METADATA, *words, only=False)


def test_no_names_for_the_channels(tiny):
    drop(tiny, METADATA, "network_data_format::outputs::pred::channel_def")
    expect(tiny, "labels", METADATA, "channel_def")


@pytest.mark.parametrize("file", [INFERENCE, TRAIN])
def test_label_names_that_are_not_those_of_the_metadata(tiny, file):
    put(tiny, file, "label_names::2", "hippocampal tail")
    expect(tiny, "labels", file, "'label_names'", "hippocampal tail")


def test_names_of_input_channels_that_are_not_there(tiny):
    put(tiny, METADATA, "network_data_format::inputs::image::channel_def", {"0": "T1", "1": "T2"})
    expect(tiny, "labels", METADATA, "inputs::image::channel_def", "2 channels", "says 1")


def test_one_channel_that_holds_the_label_itself(tiny):
    for file in (INFERENCE, TRAIN):
        put(tiny, file, "network_def::out_channels", 1)
    put(tiny, METADATA, "network_data_format::outputs::pred::num_channels", 1)
    save_weights(tiny)
    assert problems(tiny) == {}
