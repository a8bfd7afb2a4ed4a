"""Channels of the image and overlapping masks, however the author stacks and names them."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

import medkit
from medkit.data import find_cases
from medkit.errors import CaseError
from medkit.inference.run import predict_cases
from tests.bundles.zoo.comparison import dice, monai_gives
from tests.bundles.zoo.writing import (
    ABOVE_ONE,
    ARGMAX,
    INVERT,
    LOAD,
    SAVE,
    SCALE,
    SIGMOID,
    THRESHOLD,
    TO_GRID,
    config,
    metadata,
    write_bundle,
)
from tests.phantoms import OBLIQUE, SHAPE, hippocampus, nifti

_, LABELS = hippocampus()
# Channel c of the image is bright where region c is; three overlapping regions, as BraTS has them.
REGIONS = np.stack([LABELS == 1, LABELS > 0, LABELS == 2, np.zeros(SHAPE, bool)], axis=-1)
WEIGHT = [[20.0, 0, 0, 0], [0, 20.0, 0, 0], [0, 0, 20.0, 0]]
NAMES = ("Tumor core", "Whole tumor", "Enhancing tumor")


@pytest.fixture
def four_channels(tmp_path):
    """One image as a 4D file, and as a list of one file per channel."""
    array = REGIONS.astype(np.float32)
    nib.save(nifti(array), tmp_path / "whole.nii.gz")
    for number in range(4):
        nib.save(nifti(array[..., number]), tmp_path / f"channel{number}.nii.gz")
    (tmp_path / "list.json").write_text(json.dumps([[f"channel{number}.nii.gz" for number in range(4)]]))
    return tmp_path


def brats(root, load, postprocessing):
    parts = config(load, postprocessing, channels=4, classes=3)
    return write_bundle(root, parts, metadata(4, NAMES), weight=WEIGHT, bias=[-10.0] * 3)


@pytest.mark.parametrize(
    "load",
    [
        LOAD[:1],
        LOAD,
        [{**LOAD[0], "ensure_channel_first": True}],
        [{**LOAD[0], "image_only": False, "reader": "NibabelReader"}, LOAD[1]],
        [LOAD[0], {**LOAD[1], "channel_dim": -1}],
        [LOAD[0], {**LOAD[1], "channel_dim": 0}],
    ],
    ids=["stacked", "ensured", "loaded-first", "nibabel", "last", "first"],
)
@pytest.mark.parametrize("source", ["whole.nii.gz", "list.json"])
def test_four_channels_and_three_overlapping_masks(tmp_path, four_channels, load, source):
    bundle = medkit.load(brats(tmp_path / "zoo", [*load, *TO_GRID[:1]], [SIGMOID, INVERT, THRESHOLD, SAVE]))
    outcomes = predict_cases(bundle, find_cases([four_channels / source]), tmp_path / "out")
    record = outcomes[0].record
    assert record["status"] == "done", record
    assert record["label_names"] == {"0": "Tumor core", "1": "Whole tumor", "2": "Enhancing tumor"}
    written = nib.load(tmp_path / "out" / record["outputs"]["labels"])
    np.testing.assert_array_equal(np.asarray(written.dataobj), REGIONS[..., :3])
    assert written.get_data_dtype() == np.uint8
    voxel = abs(np.linalg.det(OBLIQUE[:3, :3])) / 1000
    expected = {name: REGIONS[..., number].sum() * voxel for number, name in enumerate(NAMES)}
    assert record["volumes_ml"] == pytest.approx(expected)
    assert (tmp_path / "out" / record["outputs"]["picture"]).is_file()
    assert len(record["input"]) == (1 if source == "whole.nii.gz" else 4)


def test_plain_monai_agrees_on_a_list_of_files(tmp_path, four_channels):
    root = brats(tmp_path / "zoo", [LOAD[0], *TO_GRID], [SIGMOID, INVERT, THRESHOLD, SAVE])
    files = [four_channels / f"channel{number}.nii.gz" for number in range(4)]
    ours = medkit.load(root).predict(files)
    assert ours.labels.any()
    np.testing.assert_array_equal(ours.labels, np.moveaxis(monai_gives(root, files).numpy(), 0, -1))


def test_masks_folded_into_values_are_not_named_after_channels(tmp_path, four_channels):
    enhancing_or_core = (
        "torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, 2, 0)))"
    )
    fold = {"_target_": "Lambdad", "keys": "pred", "func": f"$lambda x: {enhancing_or_core}"}
    root = brats(tmp_path / "zoo", LOAD, [SIGMOID, THRESHOLD, fold, SAVE])
    result = medkit.load(root).predict(four_channels / "whole.nii.gz")
    assert result.labels.shape == SHAPE
    assert result.label_names == {1: "label 1", 4: "label 4"}
    assert set(result.volumes_ml) == {"label 1", "label 4"}


def test_one_mask_of_one_class(tmp_path, image):
    parts = config([*LOAD, SCALE], [SIGMOID, THRESHOLD], classes=1)
    root = write_bundle(tmp_path / "zoo", parts, metadata(1, ("lesion",)), weight=[[20.0]], bias=[-20.0])
    result = medkit.load(root).predict(image)
    assert result.label_names == {1: "lesion"}
    assert dice(result.labels == 1, LABELS > 0) > 0.9


@pytest.mark.parametrize("source", ["channel0.nii.gz", "two.json"])
def test_wrong_number_of_channels(tmp_path, four_channels, source):
    (four_channels / "two.json").write_text(json.dumps([["channel0.nii.gz", "channel1.nii.gz"]]))
    bundle = medkit.load(brats(tmp_path / "zoo", LOAD, [SIGMOID, THRESHOLD]))
    record = predict_cases(bundle, find_cases([four_channels / source]), tmp_path / "out")[0].record
    assert record["code"] == "wrong-channels"
    got = 1 if source == "channel0.nii.gz" else 2
    assert f"expected an image of 4 channel(s) for zoo, got {got}" in record["reason"]


def test_channels_that_the_preprocessing_makes_are_not_asked_of_the_file(tmp_path, image):
    repeat = {"_target_": "RepeatChanneld", "keys": "image", "repeats": 4}
    root = brats(tmp_path / "zoo", [*LOAD, SCALE, repeat], [SIGMOID, THRESHOLD])
    assert medkit.load(root).predict(image).labels.shape == (*SHAPE, 3)


def test_metadata_without_data_format(tmp_path, image, four_channels):
    about = metadata()
    del about["network_data_format"]
    root = write_bundle(tmp_path / "zoo", config([*LOAD, SCALE], [ARGMAX]), about, **ABOVE_ONE)
    bundle = medkit.load(root)
    assert bundle.predict(image).label_names == {1: "label 1"}
    with pytest.raises(CaseError, match="inference failed: RuntimeError: Given groups=1") as caught:
        bundle.predict(four_channels / "whole.nii.gz")
    assert caught.value.code == "pipeline-failed"
