"""Metadata: the hand-written part in MONAI's order and names, with what the record adds."""

from __future__ import annotations

import copy

import pytest

from medkit.bundle.metadata import SCHEMA, render_metadata

WRITTEN = {
    "task": "Segmentation",
    "version": "1.2.0",
    "changelog": {"1.2.0": "first"},
    "versions": {"nibabel": "5.2", "monai": "1.6.1", "numpy": "1.26", "torch": "2.10"},
    "authors": "Somebody",
}
RECORD = {
    "training": {"run": "a"},
    "calibration": {"temperature": 2.0},
    "cross_validation": {"summary": {"tail": {"n": 3}}, "scores": [1, 2]},
}


def test_versions_go_where_monai_looks_for_them():
    rendered = render_metadata(WRITTEN, None)
    assert rendered["schema"] == SCHEMA
    assert rendered["monai_version"] == "1.6.1"
    assert rendered["pytorch_version"] == "2.10"
    assert rendered["numpy_version"] == "1.26"
    assert rendered["required_packages_version"] == {"nibabel": "5.2"}
    assert "versions" not in rendered
    assert rendered["task"] == "Segmentation"


def test_what_identifies_the_bundle_comes_first():
    first = ["schema", "version", "changelog", "monai_version", "pytorch_version", "numpy_version"]
    assert list(render_metadata(WRITTEN, None))[:6] == first


def test_the_record_adds_how_it_was_trained_and_how_well_it_does():
    without, rendered = render_metadata(WRITTEN, None), render_metadata(WRITTEN, RECORD)
    assert {key: value for key, value in rendered.items() if key in without} == without
    assert rendered["training"] == {"run": "a", "images_sha256": []}
    assert rendered["cross_validation"] == {"tail": {"n": 3}}
    assert rendered["calibration"] == {"temperature": 2.0}
    assert not {"training", "cross_validation", "calibration"} & without.keys()


def test_the_images_that_a_network_was_trained_on_are_told():
    files = {"images/b.nii.gz": "22", "images/a.nii.gz": "11", "labels/a.nii.gz": "33", "packed/c.npz": "44"}
    record = {**RECORD, "cross_validation": {**RECORD["cross_validation"], "data_sha256": files}}
    assert render_metadata(WRITTEN, record)["training"]["images_sha256"] == ["11", "22", "44"]
    record["training"] = {"images_sha256": ["55"]}
    assert render_metadata(WRITTEN, record)["training"]["images_sha256"] == ["55"]


def test_what_is_handed_in_stays_as_it_is():
    written, record = copy.deepcopy(WRITTEN), copy.deepcopy(RECORD)
    render_metadata(written, record)
    assert written == WRITTEN
    assert record == RECORD


@pytest.mark.parametrize("key", ["version", "changelog", "versions"])
def test_a_part_that_every_bundle_has_must_be_there(key):
    with pytest.raises(KeyError, match=key):
        render_metadata({name: value for name, value in WRITTEN.items() if name != key}, None)
