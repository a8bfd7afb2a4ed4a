"""Other people's bundles run with the same care, whatever their habits."""

from __future__ import annotations

import json
import shutil
import sys

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigParser

import medkit
from medkit.data import find_cases
from medkit.errors import CaseError, UsageError
from medkit.inference.run import RunOptions, predict_cases
from tests.bundles.zoo import (
    ARGMAX,
    INVERT,
    LOAD,
    SAVE,
    SIGMOID,
    SOFTMAX,
    THRESHOLD,
    TO_GRID,
    config,
    metadata,
    with_checkpointloader,
    write_bundle,
)
from tests.phantoms import OBLIQUE, SHAPE, hippocampus, nifti

IMAGE, LABELS = hippocampus()
BRIGHT = {"weight": [[0.0], [1.0]], "bias": [0.0, -550.0]}  # class 1 above 550
SCALE = {
    "_target_": "ScaleIntensityRanged",
    "keys": "image",
    "a_min": 0,
    "a_max": 550,
    "b_min": 0,
    "b_max": 1,
}
ABOVE_ONE = {"weight": [[0.0], [1.0]], "bias": [0.0, -1.0]}


@pytest.fixture
def image(tmp_path):
    nib.save(nifti(IMAGE), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def dice(one, other):
    return 2 * np.sum(one & other) / (one.sum() + other.sum())


def monai_gives(root, paths):
    """What MONAI's own evaluator makes of the files, from the same config."""
    parts = json.loads((root / "configs" / "inference.json").read_text())
    parts["bundle_root"], parts["device"] = str(root), "cpu"
    parts["datalist"] = f"${[[str(p) for p in paths]]!r}"
    parts["dataloader"]["num_workers"] = 0
    parts["postprocessing"]["transforms"] = [
        step for step in parts["postprocessing"]["transforms"] if step["_target_"] != "SaveImaged"
    ]
    parser = ConfigParser(parts)
    if "initialize" in parts:
        parser.get_parsed_content("initialize")
    evaluator = parser.get_parsed_content("evaluator")
    evaluator.run()
    return evaluator.state.output[0]["pred"]


# --- weights ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wording", [lambda parts: parts, with_checkpointloader], ids=["handlers", "initialize"]
)
def test_weights_are_loaded_though_the_author_has_the_data(tmp_path, image, wording):
    parts = wording(config([*LOAD, *TO_GRID, SCALE], [SOFTMAX, INVERT, ARGMAX, SAVE]))
    root = write_bundle(tmp_path / "zoo", parts, metadata(), **ABOVE_ONE)
    result = medkit.load(root).predict(image)
    assert result.grid.shape == SHAPE
    assert dice(result.labels == 1, LABELS > 0) > 0.8
    assert result.label_names == {1: "bright"}
    assert not (root / "eval").exists()
    theirs = monai_gives(root, [image])
    np.testing.assert_array_equal(result.labels, theirs[0].numpy())


def test_no_weights_to_load(tmp_path):
    parts = config(LOAD, [ARGMAX])
    parts["handlers"] = []
    root = write_bundle(tmp_path / "zoo", parts, metadata(), **BRIGHT)
    with pytest.raises(UsageError, match="neither 'checkpointloader' nor 'handlers' loads weights"):
        medkit.load(root)


# --- channels -----------------------------------------------------------------------------------------------

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


# --- grids --------------------------------------------------------------------------------------------------


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


# --- code ---------------------------------------------------------------------------------------------------

TRANSFORM = """
from monai.transforms import MapTransform
from scripts.helper import LIMIT

class MyTransform(MapTransform):
    def __call__(self, data):
        from scripts.helper import LIMIT as again  # as some do
        assert again == LIMIT
        return {**data, **{key: (data[key] > LIMIT).to(data[key]) for key in self.keys}}
"""


def scripted(root, limit):
    mine = {"_target_": "scripts.mytransform.MyTransform", "keys": "image"}
    parts = config([*LOAD, mine], [ARGMAX])
    parts["imports"].append("$import scripts")
    files = {"__init__": "", "mytransform": TRANSFORM, "helper": f"LIMIT = {limit}"}
    weights = {"weight": [[0.0], [1.0]], "bias": [0.0, -0.5]}
    return write_bundle(root, parts, metadata(), scripts=files, **weights)


def test_two_bundles_with_scripts_of_one_name(tmp_path, image):
    low = medkit.load(scripted(tmp_path / "low", 550))
    high = medkit.load(scripted(tmp_path / "high", 700))
    before = list(sys.path), {name for name in sys.modules if name.split(".")[0] == "scripts"}
    for bundle, limit in ((low, 550), (high, 700), (low, 550)):
        np.testing.assert_array_equal(bundle.predict(image).labels, limit < IMAGE)
    assert (list(sys.path), {name for name in sys.modules if name.split(".")[0] == "scripts"}) == before
    assert before[1] == set()


def test_error_in_the_bundles_own_code_is_one_line(tmp_path, image):
    root = scripted(tmp_path / "broken", 550)
    (root / "scripts" / "mytransform.py").write_text(
        TRANSFORM.replace("again == LIMIT", "False, 'my\\nfault'")
    )
    with pytest.raises(CaseError) as caught:
        medkit.load(root).predict(image)
    assert str(caught.value) == f"{image}: preprocessing failed: AssertionError: my"


def test_missing_script(tmp_path):
    root = scripted(tmp_path / "broken", 550)
    shutil.rmtree(root / "scripts")
    with pytest.raises(UsageError, match=r"'preprocessing' cannot be built.*scripts.mytransform.MyTransform"):
        medkit.load(root)


def test_old_separators_and_imports(tmp_path, image):
    parts = config([*LOAD, {**SCALE, "a_max": "@displayable_configs#limits#high"}], [SOFTMAX, ARGMAX])
    parts["displayable_configs"] = {"limits": {"high": 550}, "windows": "$math.prod([2, 16])"}
    parts["imports"].append("$import math")
    parts["inferer"]["roi_size"] = ["@displayable_configs#windows"] * 3
    root = write_bundle(tmp_path / "zoo", parts, metadata(), **ABOVE_ONE)
    bundle = medkit.load(root)
    assert bundle.inferer.roi_size == [32, 32, 32]
    assert dice(bundle.predict(image).labels == 1, LABELS > 0) > 0.9
    changed = medkit.load(root, overrides={"displayable_configs::limits::high": 5000})
    assert not changed.predict(image).labels.any()


# --- what cannot be run -------------------------------------------------------------------------------------


def test_evaluator_of_its_own(tmp_path):
    parts = config(LOAD, [ARGMAX])
    parts["evaluator"]["_target_"] = "scripts.evaluator.Vista3dEvaluator"
    root = write_bundle(tmp_path / "zoo", parts, metadata(), **BRIGHT)
    with pytest.raises(UsageError, match=r"SupervisedEvaluator, got an evaluator of its own"):
        medkit.load(root)


def test_bundle_for_slices(tmp_path):
    about = metadata()
    about["network_data_format"]["inputs"]["image"]["spatial_shape"] = [256, 256]
    root = write_bundle(tmp_path / "zoo", config(LOAD, [ARGMAX]), about, **BRIGHT)
    with pytest.raises(UsageError, match=r"segments 3D images.*got an image of spatial shape \[256, 256\]"):
        medkit.load(root)


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
