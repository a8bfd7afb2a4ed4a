"""Metadata: schema, change log and packages."""

from __future__ import annotations

import pytest

from tests.bundle.breaking import METADATA, drop, put
from tests.bundle.checks.problems import expect


@pytest.mark.parametrize(
    "key",
    ["schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version",
     "task", "description", "authors", "copyright", "network_data_format", "network_data_format::inputs",
     "network_data_format::outputs"],
)  # fmt: skip
def test_metadata_without_a_key(tiny, key):
    drop(tiny, METADATA, key)
    parent, _, last = key.rpartition("::")
    expect(tiny, "metadata schema", METADATA, parent or "top level", f"'{last}' is a required", only=False)


@pytest.mark.parametrize("key", ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"])
@pytest.mark.parametrize("tensor", ["inputs::image", "outputs::pred"])
def test_metadata_with_a_tensor_that_lacks_a_key(tiny, tensor, key):
    drop(tiny, METADATA, f"network_data_format::{tensor}::{key}")
    expect(tiny, "metadata schema", METADATA, f"network_data_format::{tensor}", f"'{key}'", only=False)


@pytest.mark.parametrize(
    ("key", "value"),
    [("version", "first"), ("authors", ["A", "B"]), ("task", ""), ("references", "one"), ("schema", "here"),
     ("changelog", {"0.1.0": 3}), ("required_packages_version", ["monai"]), ("network_data_format", []),
     ("network_data_format::inputs::image", [1]), ("network_data_format::inputs::image::num_channels", 0),
     ("network_data_format::inputs::image::num_channels", "one"),
     ("network_data_format::inputs::image::spatial_shape", [0, 8]),
     ("network_data_format::outputs::pred::value_range", ["low"]),
     ("network_data_format::outputs::pred::is_patch_data", "yes"),
     ("network_data_format::outputs::pred::channel_def", {"0": ""})],
)  # fmt: skip
def test_metadata_of_a_wrong_type(tiny, key, value):
    put(tiny, METADATA, key, value)
    expect(tiny, "metadata schema", METADATA, key, only=False)


def test_a_version_that_the_change_log_does_not_know(tiny):
    put(tiny, METADATA, "version", "0.2.0")
    expect(tiny, "change log", METADATA, "0.2.0", "changelog")


def test_no_change_log(tiny):
    drop(tiny, METADATA, "changelog")
    expect(tiny, "change log", METADATA, "changelog")


@pytest.mark.parametrize(
    ("key", "value"), [("monai_version", "1.10.0"), ("required_packages_version", {"no-such-package": "1.0"})]
)
def test_packages_that_are_not_there(tiny, key, value):
    put(tiny, METADATA, key, value)
    expect(tiny, "package versions", METADATA, "pip install")
