"""Labels on the image's own grid: MONAI's but for ties, whatever the grid was, or a refusal that says what to do."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import (
    BorderPadd,
    CenterSpatialCropd,
    Compose,
    CropForegroundd,
    EnsureChannelFirstd,
    Flipd,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    Rotate90d,
    Spacingd,
    SpatialPadd,
    Zoomd,
)
from monai.utils import set_determinism
from scipy.ndimage import map_coordinates

from medkit.errors import UsageError
from medkit.transforms.native_labels import NativeLabelsd
from tests.phantoms import OBLIQUE, SHAPE
from tests.transforms.monai_way import assert_same_but_for_ties, monai_probabilities

CODES = [
    "".join(code) for axes in itertools.permutations(["LR", "PA", "IS"]) for code in itertools.product(*axes)
]


def spacing(edges=(1.1, 1.4, 0.9), **options):
    return Spacingd("image", edges, mode="bilinear", **options)


def preprocessed(transform, shape=SHAPE, affine=OBLIQUE):
    generator = torch.Generator().manual_seed(0)
    image = MetaTensor(torch.rand(1, *shape, generator=generator), affine=torch.from_numpy(affine))
    return transform({"image": image})


def with_scores(item, classes=4):
    """Scores with some smoothness, so that corners agree in places and in others do not."""
    generator = torch.Generator().manual_seed(1)
    sizes = item["image"].shape[1:]
    coarse = torch.randn(1, classes, 3, 4, 3, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, sizes, mode="trilinear", align_corners=True)[0]
    return {**item, "pred": MetaTensor(4 * smooth + 0.3 * torch.randn(smooth.shape, generator=generator))}


def check(transform, shape=SHAPE, affine=OBLIQUE, **options):
    item = with_scores(preprocessed(transform, shape, affine))
    expected = monai_probabilities(item, transform, **options)
    found = NativeLabelsd("pred", transform, "image", softmax=options.get("softmax", True))(item)["pred"]
    assert found.shape == (1, *shape)
    assert found.dtype == torch.uint8
    assert_same_but_for_ties(found[0], expected)
    torch.testing.assert_close(found.affine, expected.affine)
    np.testing.assert_allclose(found.affine, affine, atol=1e-9)
    assert len(found.unique()) > 1
    assert not found.applied_operations
    return found


@pytest.mark.parametrize("code", CODES)
def test_every_orientation(code):
    check(Compose([Orientationd("image", axcodes=code, labels=None), spacing()]))


@pytest.mark.parametrize("softmax", [True, False])
def test_scores_may_be_interpolated_as_they_are(softmax):
    check(Compose([Orientationd("image", axcodes="RAS", labels=None), spacing()]), softmax=softmax)


@st.composite
def grids(draw):
    shape = tuple(draw(st.integers(2, 14)) for _ in range(3))
    edges = [draw(st.floats(0.4, 3.0)) for _ in range(3)]
    angles = [draw(st.floats(-0.8, 0.8)) for _ in range(3)]
    order = draw(st.permutations(range(3)))
    signs = [draw(st.sampled_from([1, -1])) for _ in range(3)]
    rotation = nib.eulerangles.euler2mat(*angles)[:, order] * signs
    return shape, nib.affines.from_matvec(rotation * edges, [draw(st.floats(-300, 300)) for _ in range(3)])


@settings(max_examples=40)
@given(grid=grids(), diagonal=st.booleans(), precision=st.sampled_from([torch.float32, torch.float64]))
def test_any_grid(grid, diagonal, precision):
    """With ``diagonal`` the network's grid lies along the axes of space: an oblique image is turned."""
    steps = [Orientationd("image", axcodes="LPS", labels=None), spacing(diagonal=diagonal, dtype=precision)]
    transform = Compose(steps)
    item = with_scores(preprocessed(transform, *grid))
    found = NativeLabelsd("pred", transform, "image", softmax=True)(item)["pred"]
    expected = monai_probabilities(item, transform)
    behind = expected.max(0).values - expected.gather(0, found.long())[0]
    assert behind.max() < 1e-3  # coordinates in single precision, over scores that change by much in a voxel
    assert (found[0] != expected.argmax(0)).float().mean() < 0.01
    torch.testing.assert_close(found.affine, expected.affine)


STEPS = {
    "nothing that moves": [NormalizeIntensityd("image")],
    "spacing alone": [spacing()],
    "the same spacing": [spacing((-1.0, -1.0, -1.0))],
    "nested, with intensities": [Compose([spacing()]), NormalizeIntensityd("image")],
    "crop": [CenterSpatialCropd("image", (7, 8, 6)), spacing()],
    "foreground": [CropForegroundd("image", "image", select_fn=lambda image: image > 0.98), spacing()],
    "pad": [SpatialPadd("image", (20, 9, 15)), spacing()],
    "border, flip, turn": [
        BorderPadd("image", 2),
        Flipd("image", 1),
        Rotate90d("image", 1, (0, 2)),
        spacing(),
    ],
    "crop without resampling": [Flipd("image", 0), CenterSpatialCropd("image", (7, 8, 6))],
}


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_steps_before_the_resampling(steps):
    check(Compose(steps))


def test_axis_of_one_voxel_with_aligned_corners():
    """MONAI's own inverse looks elsewhere there, so that the affines are the truth."""
    options = {"align_corners": True, "diagonal": True, "dtype": torch.float64}
    transform = Compose([spacing((0.5, 1.4, 0.9), **options)])
    item = with_scores(preprocessed(transform, (1, 9, 8)))
    item["pred"] = item["pred"].double()
    assert len(item["image"][0]) > 1
    found = NativeLabelsd("pred", transform, "image", softmax=False)(item)["pred"]
    matrix = np.linalg.solve(item["image"].affine.numpy(), OBLIQUE)
    places = (
        np.einsum("ab,bijk->aijk", matrix[:3, :3], np.indices((1, 9, 8))) + matrix[:3, 3, None, None, None]
    )
    scores = np.stack(
        [map_coordinates(channel, places, order=1, mode="nearest") for channel in item["pred"].numpy()]
    )
    assert_same_but_for_ties(found[0].as_tensor(), torch.from_numpy(scores))
    by_monai = monai_probabilities(item, transform, softmax=False).as_tensor().argmax(0)
    assert not np.array_equal(by_monai, scores.argmax(0)), "or MONAI was mended, and the docstring is to be"


@pytest.mark.parametrize("code", ["RAS", "PIL", "AIR"])
def test_labels_may_keep_the_networks_spacing(code):
    """On the axes of the file: each voxel has the label of the scores at its place."""
    transform = Compose([Orientationd("image", axcodes=code, labels=None), spacing((2.0, 2.0, 2.0))])
    item = with_scores(preprocessed(transform))
    found = NativeLabelsd("pred", transform, "image", softmax=True, resample_back=False)(item)["pred"]
    assert nib.aff2axcodes(found.affine.numpy()) == nib.aff2axcodes(OBLIQUE)
    np.testing.assert_allclose(nib.affines.voxel_sizes(found.affine.numpy()), 2.0, atol=1e-6)
    back = Orientationd("image", axcodes=code, labels=None)({"image": found})["image"]
    torch.testing.assert_close(back.affine, item["image"].affine.double(), atol=1e-4, rtol=0)
    assert torch.equal(back[0].as_tensor(), item["pred"].as_tensor().argmax(0).to(torch.uint8))


def test_labels_that_were_not_resampled_have_no_other_spacing():
    transform = Compose([Orientationd("image", axcodes="PIL", labels=None)])
    item = with_scores(preprocessed(transform))
    kept, back = (
        NativeLabelsd("pred", transform, "image", softmax=True, resample_back=way)(item)["pred"]
        for way in (False, True)
    )
    assert torch.equal(kept, back)
    assert torch.equal(kept.affine, back.affine)


@pytest.mark.parametrize("step", [CenterSpatialCropd("image", (7, 8, 6)), SpatialPadd("image", (20, 20, 20))])
def test_voxels_of_the_file_are_no_measure_of_others(step):
    transform = Compose([step, spacing((2.0, 2.0, 2.0))])
    item = with_scores(preprocessed(transform))
    with pytest.raises(
        UsageError, match=f"neither crops nor pads, .* got {type(step).__name__}; take it out"
    ):
        NativeLabelsd("pred", transform, "image", softmax=True, resample_back=False)(item)


def test_what_was_cropped_is_background():
    transform = Compose([CenterSpatialCropd("image", (7, 8, 6)), spacing()])
    assert check(transform)[0, :2].max() == 0


@pytest.mark.parametrize("name", ["example_ct_sm.nii.gz", "example_mr_sm.nii.gz"])
def test_real_scans(real_data, name):
    set_determinism(0)
    steps = [
        LoadImaged("image"),
        EnsureChannelFirstd("image"),
        Orientationd("image", axcodes="RAS", labels=None),
        spacing((2.2, 2.6, 4.1), dtype=torch.float32),
    ]
    transform = Compose(steps)
    item = with_scores(transform({"image": str(real_data / "abdomen_ct_mr" / name)}), classes=6)
    found = NativeLabelsd("pred", transform, "image", softmax=True)(item)["pred"]
    assert_same_but_for_ties(found[0], monai_probabilities(item, transform), tie=1e-4)


def test_missing_keys():
    transform = Compose([spacing()])
    item = preprocessed(transform)
    assert NativeLabelsd("pred", transform, "image", softmax=True, allow_missing_keys=True)(item).keys() == {
        "image"
    }
    with pytest.raises(KeyError):
        NativeLabelsd("pred", transform, "image", softmax=True)(item)


REFUSED = {
    "crops after it": (
        [spacing(), CropForegroundd("image", "image")],
        "got Spacingd in Spacingd, CropForegroundd",
    ),
    "resamples twice": ([spacing(), spacing((2, 2, 2))], "got Spacingd in Spacingd, Spacingd"),
    "zooms": ([Zoomd("image", 2.0, keep_size=False)], "got Zoomd in Zoomd"),
    "nearest": ([Spacingd("image", (2, 2, 2), mode="nearest")], "got 'nearest' and 'border'"),
    "zeros": ([spacing(padding_mode="zeros")], "got 'bilinear' and 'zeros'"),
}


@pytest.mark.parametrize(("steps", "got"), REFUSED.values(), ids=REFUSED)
def test_preprocessing_that_is_not_understood(steps, got):
    transform = Compose(steps)
    item = with_scores(preprocessed(transform))
    with pytest.raises(UsageError, match=got) as caught:
        NativeLabelsd("pred", transform, "image", softmax=True)(item)
    assert "use MONAI's Activationsd, Invertd(nearest_interp=False)" in str(caught.value)


def test_image_without_trace():
    transform = Compose([spacing()])
    item = with_scores(preprocessed(transform))
    item["image"] = item["image"].as_tensor()
    with pytest.raises(
        UsageError, match=r"expected an image with metadata \(a MetaTensor\), got a plain tensor"
    ):
        NativeLabelsd("pred", transform, "image", softmax=True)(item)
    item["image"] = MetaTensor(item["image"])
    with pytest.raises(
        UsageError, match="expected an image with a trace of each of Spacingd, got 0 operations"
    ):
        NativeLabelsd("pred", transform, "image", softmax=True)(item)


def test_preprocessing_without_steps():
    transform = Compose([])
    item = with_scores(preprocessed(transform))
    found = NativeLabelsd("pred", transform, "image", softmax=True)(item)["pred"]
    assert torch.equal(found[0].as_tensor().long(), item["pred"].as_tensor().argmax(0))
    np.testing.assert_allclose(found.affine, OBLIQUE)


@pytest.mark.parametrize("flat", ["source", "native"])
def test_affine_that_cannot_be_inverted(flat):
    transform = Compose([spacing()])
    item = with_scores(preprocessed(transform))
    if flat == "source":
        item["image"].affine[:, 1] = 0
    else:
        item["image"].applied_operations[-1]["extra_info"]["src_affine"][:, 1] = 0
    with pytest.raises(UsageError, match=r"image: expected an affine that can be inverted, got \[\["):
        NativeLabelsd("pred", transform, "image", softmax=True)(item)


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_scores_that_are_not_finite(value, softmax):
    """Interpolated, they would have no greatest, or another one on other hardware."""
    transform = Compose([spacing()])
    item = with_scores(preprocessed(transform))
    item["pred"][2, 3, 3, 3] = value
    with pytest.raises(UsageError, match="expected finite numbers in the network's output, got NaN or inf"):
        NativeLabelsd("pred", transform, "image", softmax=softmax)(item)


def test_scores_of_one_class():
    transform = Compose([spacing()])
    item = with_scores(preprocessed(transform))
    item["pred"] = item["pred"][:1]
    with pytest.raises(
        UsageError, match="expected a network that gives scores of two classes or more, got 1"
    ):
        NativeLabelsd("pred", transform, "image", softmax=True)(item)


def test_scores_that_do_not_belong_to_the_image():
    transform = Compose([spacing()])
    item = with_scores(preprocessed(transform))
    item["pred"] = item["pred"][:, 1:]
    with pytest.raises(UsageError, match="pred: expected scores on the grid of the image"):
        NativeLabelsd("pred", transform, "image", softmax=True)(item)
