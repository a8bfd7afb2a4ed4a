"""The output: on whatever grid it lies, it is labels, knows its place, and has probabilities where it may."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

import medkit
from medkit.data import find_cases
from medkit.errors import CaseError, UsageError
from medkit.inference.run import RunOptions, predict_cases
from tests.bundles.zoo.writing import (
    ABOVE_ONE,
    ARGMAX,
    INVERT,
    LOAD,
    SAVE,
    SCALE,
    SOFTMAX,
    TO_GRID,
    config,
    metadata,
    write_bundle,
)
from tests.phantoms import OBLIQUE, SHAPE, hippocampus

_, LABELS = hippocampus()


def test_bundle_that_stays_on_its_own_grid_in_yaml(tmp_path, image):
    parts = config([*LOAD, *TO_GRID, SCALE], [SOFTMAX, ARGMAX, SAVE])
    root = write_bundle(tmp_path / "zoo", parts, metadata(), yaml=True, **ABOVE_ONE)
    outcome = predict_cases(medkit.load(root), find_cases([image]), tmp_path / "out")[0]
    record = outcome.record
    assert "does not return to the image's grid" in record["notes"][0]
    written = nib.load(tmp_path / "out" / record["outputs"]["labels"])
    np.testing.assert_allclose(nib.affines.voxel_sizes(written.affine), 1.5)
    assert "".join(nib.aff2axcodes(written.affine)) == "RAS"
    # The same body in the same place: its centre and its volume are those of the phantom.
    voxels = np.argwhere(np.asarray(written.dataobj) == 1)
    truth = np.argwhere(LABELS > 0)
    centre = nib.affines.apply_affine(written.affine, voxels.mean(axis=0))
    np.testing.assert_allclose(centre, nib.affines.apply_affine(OBLIQUE, truth.mean(axis=0)), atol=0.4)
    expected_ml = len(truth) * abs(np.linalg.det(OBLIQUE[:3, :3])) / 1000
    assert record["volumes_ml"]["bright"] == pytest.approx(expected_ml, rel=0.15)
    assert (tmp_path / "out" / record["outputs"]["picture"]).stat().st_size > 10_000


def test_labels_are_not_blended_on_the_way_back(tmp_path, image):
    # Class 2 above 550 and class 0 below: halfway between them lies no class 1.
    weight, bias = {"weight": [[0.0], [0.0], [1.0]]}, {"bias": [0.0, -1e6, -1.0]}
    parts = config([*LOAD, *TO_GRID, SCALE], [ARGMAX, INVERT, SAVE], classes=3)
    about = metadata(1, ("background", "never", "bright"))
    result = medkit.load(write_bundle(tmp_path / "zoo", parts, about, **weight, **bias)).predict(image)
    assert set(np.unique(result.labels)) == {0, 2}
    assert any("nearest neighbours" in note for note in result.notes)


def test_output_that_is_no_label_map(tmp_path, image):
    root = write_bundle(tmp_path / "zoo", config([*LOAD, SCALE], [SOFTMAX]), metadata(), **ABOVE_ONE)
    with pytest.raises(CaseError, match="expected whole numbers as labels") as caught:
        medkit.load(root).predict(image)
    assert caught.value.code == "output-not-labels"


@pytest.mark.parametrize(
    "forget",
    [
        {"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x.as_tensor()"},
        {"_target_": "EnsureTyped", "keys": "image", "track_meta": False},
    ],
)
def test_output_that_lost_its_place(tmp_path, image, forget):
    parts = config([*LOAD, TO_GRID[0], SCALE, forget], [ARGMAX])
    root = write_bundle(tmp_path / "zoo", parts, metadata(), **ABOVE_ONE)
    with pytest.raises(CaseError, match="expected an output that knows its place") as caught:
        medkit.load(root).predict(image)
    assert caught.value.code == "output-without-place"


@pytest.mark.parametrize(
    ("postprocessing", "has"),
    [
        ([SOFTMAX, INVERT, ARGMAX], True),
        ([SOFTMAX, ARGMAX], True),
        ([INVERT, ARGMAX], False),
        ([SOFTMAX, ARGMAX, INVERT], False),
        ([ARGMAX], False),
    ],
)
def test_probabilities_only_where_there_are_some(tmp_path, image, postprocessing, has):
    parts = config([*LOAD, SCALE], postprocessing)
    bundle = medkit.load(write_bundle(tmp_path / "zoo", parts, metadata(), **ABOVE_ONE))
    if has:
        soft = bundle.predict(image, probabilities=True).probabilities
        assert soft.shape == (2, *SHAPE)
        np.testing.assert_allclose(soft.sum(axis=0), 1, atol=1e-6)
        return
    with pytest.raises(UsageError, match="ask for no probabilities"):
        bundle.predict(image, probabilities=True)
    with pytest.raises(UsageError, match="ask for no probabilities"):
        predict_cases(bundle, find_cases([image]), tmp_path / "out", RunOptions(probabilities=True))
    assert not (tmp_path / "out").exists()
