"""Keys: what MONAI and other clients look up by name is there, and is what they take it for."""

from __future__ import annotations

import pytest

from tests.bundle.breaking import INFERENCE, METADATA, TRAIN, drop, put
from tests.bundle.checks.problems import expect


@pytest.mark.parametrize(
    "key",
    ["bundle_root", "dataset_dir", "output_dir", "device", "network_def", "network", "preprocessing",
     "dataset", "dataset::data", "dataloader", "inferer", "postprocessing", "handlers", "checkpointloader",
     "checkpointloader::map_location", "evaluator", "initialize", "run"],
)  # fmt: skip
def test_an_inference_config_without_a_key_that_clients_look_for(tiny, key):
    drop(tiny, INFERENCE, key)
    expect(tiny, "client keys", INFERENCE, f"'{key}'", only=False)


@pytest.mark.parametrize("place", ["cuda:0", None])
def test_weights_that_would_load_to_the_device_they_came_from(tiny, place):
    put(tiny, INFERENCE, "checkpointloader::map_location", place)
    expect(tiny, "client keys", INFERENCE, "checkpointloader::map_location", "@device", only=False)


@pytest.mark.parametrize(("side", "name"), [("inputs", "image"), ("outputs", "pred")])
def test_tensors_of_another_name(tiny, side, name):
    drop(tiny, METADATA, f"network_data_format::{side}::{name}")
    expect(tiny, "client keys", METADATA, f"network_data_format::{side}::{name}", only=False)


@pytest.mark.parametrize(
    ("file", "key"),
    [(INFERENCE, "evaluator"), (INFERENCE, "device"), (TRAIN, "dataset_dir"), (TRAIN, "train::inferer"),
     (TRAIN, "train::trainer::max_epochs"), (METADATA, "numpy_version")],
)  # fmt: skip
def test_a_property_that_monai_requires(tiny, file, key):
    drop(tiny, file, key)
    expect(tiny, "MONAI properties", file, f"'{key}'", only=False)


@pytest.mark.parametrize("value", ["@train::preprocessing", {"_target_": "Compose", "transforms": []}])
def test_an_optional_part_under_another_name(tiny, value):
    put(tiny, TRAIN, "validate::dataset::transform", value)
    expect(tiny, "MONAI properties", TRAIN, "'validate::dataset::transform'", "@validate::preprocessing")


@pytest.mark.parametrize("value", ["gpu", 1e30, [], "$torch.zeros(1)"])
@pytest.mark.parametrize("file", [INFERENCE, TRAIN])
def test_a_device_that_does_not_exist(tiny, file, value):
    put(tiny, file, "device", value)
    expect(tiny, "client keys", file, "'device'", "cuda:0 or cpu", only=False)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("run", 7),
        ("run", ["$3", 3]),
        ("initialize", "set_determinism(0)"),
        ("run", {"a": 1}),
        ("run", []),
        ("run", None),
    ],
)
@pytest.mark.parametrize("file", [INFERENCE, TRAIN])
def test_steps_that_are_no_expressions(tiny, file, key, value):
    put(tiny, file, key, value)
    expect(tiny, "client keys", file, f"'{key}'", "expected expressions")
