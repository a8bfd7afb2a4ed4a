"""Prediction in Python: whatever goes in, labels come out in the place of the image."""

from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

import medkit
from medkit.data import Grid, Volume
from medkit.errors import CaseError, UsageError
from medkit.inference.result import NOTHING_LABELLED
from tests.inference.lateral import with_names
from tests.phantoms import OBLIQUE, PLAIN, SHAPE, hippocampus, nifti

IMAGE, _ = hippocampus(affine=PLAIN)


def in_itk():
    image = sitk.GetImageFromArray(IMAGE.transpose(2, 1, 0))
    lps = np.diag([-1, -1, 1, 1]) @ PLAIN
    image.SetDirection(lps[:3, :3].ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def on_disk(path):
    nib.save(nifti(IMAGE, PLAIN), path)
    return path


FORMS = {
    "path": lambda folder: on_disk(folder / "a.nii.gz"),
    "string": lambda folder: str(on_disk(folder / "a.nii.gz")),
    "list": lambda folder: [on_disk(folder / "a.nii.gz")],
    "nibabel": lambda folder: nifti(IMAGE, PLAIN),
    "itk": lambda folder: in_itk(),
    "metatensor": lambda folder: MetaTensor(
        torch.from_numpy(IMAGE)[None].float(), affine=torch.tensor(PLAIN)
    ),
    "volume": lambda folder: Volume(IMAGE, Grid(SHAPE, PLAIN)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_labels(tiny, labels, tmp_path, form):
    result = tiny.predict(FORMS[form](tmp_path))
    np.testing.assert_array_equal(result.labels, labels)
    np.testing.assert_array_equal(result.grid.affine, PLAIN)
    assert result.labels.dtype == np.uint8
    assert set(result.seconds) == {"read", "preprocessing", "inference", "postprocessing"}
    assert set(result.volumes_ml) == {"anterior hippocampus", "posterior hippocampus"}


@pytest.mark.parametrize("change", [np.asfortranarray, lambda a: a.astype(np.float64), torch.from_numpy])
def test_arrays_of_any_kind(tiny, labels, change):
    np.testing.assert_array_equal(tiny.predict(change(IMAGE), PLAIN).labels, labels)


def test_image_of_the_caller_is_left_as_it_was(tiny):
    image = IMAGE.astype(np.float32)
    tiny.predict(image, OBLIQUE)
    np.testing.assert_array_equal(image, IMAGE)


def test_array_without_affine(tiny):
    with pytest.raises(UsageError, match="pass its affine"):
        tiny.predict(IMAGE)


def test_unfit_images_are_refused(tiny):
    with pytest.raises(CaseError) as caught:
        tiny.predict(np.where(IMAGE > 500, np.nan, 0.0), OBLIQUE)
    assert caught.value.code == "voxels-not-finite"
    with pytest.raises(CaseError) as caught:
        tiny.predict(np.stack([IMAGE, IMAGE], axis=-1), OBLIQUE)
    assert caught.value.code == "wrong-channels"


@pytest.mark.parametrize(
    "array",
    [
        (np.arange(8).reshape(2, 2, 2) == 5).astype(np.int16),
        IMAGE.astype(np.float64) * 1e30,
        IMAGE > 500,
    ],
)
def test_odd_images_are_segmented(tiny, array):
    assert tiny.predict(array, OBLIQUE).labels.shape == array.shape


def test_image_that_shows_nothing_is_refused(tiny):
    with pytest.raises(CaseError, match="expected an image that shows something, got 7 in every voxel"):
        tiny.predict(np.full(SHAPE, 7.0), OBLIQUE)


def test_result_without_a_label_is_remarked_on(tiny_root):
    bundle = medkit.load(tiny_root)
    last = [value for name, value in bundle.network.named_parameters() if name.endswith("bias")][-1]
    last.data[0] = 1e6  # background, whatever the image shows
    result = bundle.predict(IMAGE, PLAIN)
    assert not result.labels.any()
    assert result.notes == (NOTHING_LABELLED,)
    assert set(result.volumes_ml.values()) == {0.0}


def test_numbers_beyond_single_precision_are_refused(tiny):
    with pytest.raises(CaseError, match="expected finite numbers in the preprocessed image") as caught:
        tiny.predict(np.where(IMAGE > 500, 1e200, IMAGE), OBLIQUE)
    assert caught.value.code == "image-not-finite"


def test_output_of_damaged_weights_is_refused(tiny_root):
    bundle = medkit.load(tiny_root)
    next(bundle.network.parameters()).data[0] = torch.nan
    with pytest.raises(CaseError, match="expected finite numbers in the network's output") as caught:
        bundle.predict(IMAGE, PLAIN)
    assert caught.value.code == "output-not-finite"


def test_prediction_does_not_depend_on_what_came_before(tiny_root, labels):
    bundle = medkit.load(tiny_root)
    bundle.predict(np.random.default_rng(1).random((30, 31, 29)), np.diag([2.0, 1, 1, 1]))
    np.testing.assert_array_equal(bundle.predict(IMAGE, PLAIN).labels, labels)


def test_preprocessing_reads_the_file_that_it_is_given_after_a_prediction_too(tiny_root, tmp_path):
    bundle, other = medkit.load(tiny_root), np.random.default_rng(2).random((30, 31, 29)).astype(np.float32)
    nib.save(nifti(other, np.diag([2.0, 1, 1, 1])), tmp_path / "other.nii.gz")
    before = bundle.preprocessing({"image": str(tmp_path / "other.nii.gz")})["image"]
    bundle.predict(IMAGE, PLAIN)
    assert torch.equal(bundle.preprocessing({"image": str(tmp_path / "other.nii.gz")})["image"], before)


def test_provenance_names_what_ran(tiny_root):
    bundle = medkit.load(
        tiny_root, device="cpu", overrides={"inferer::overlap": 0, "patch_size": (16, 24, 16)}
    )
    made = bundle.predict(IMAGE, PLAIN).provenance
    assert made["overrides"] == {"inferer::overlap": 0, "patch_size": [16, 24, 16]}
    assert made["bundle_digest"] == bundle.folder.digest()
    assert made["device"] == "cpu"
    assert made["versions"]["medkit-imaging"] == medkit.__version__


def test_memory_error_of_a_step_is_named(tiny_root):
    bundle = medkit.load(tiny_root)

    def exhausted(image, network):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB\nand more")

    bundle.inferer = exhausted
    with pytest.raises(CaseError, match="expected enough memory for inference") as caught:
        bundle.predict(IMAGE, PLAIN)
    assert caught.value.code == "out-of-memory"


def test_refusal_of_a_step_is_given_the_name_of_the_image(tiny_root):
    bundle = medkit.load(tiny_root)

    def refusing(image, network):
        raise CaseError("not-recognised", "no brain")

    bundle.inferer = refusing
    with pytest.raises(CaseError, match=r"^<array>: no brain$") as caught:
        bundle.predict(IMAGE, PLAIN)
    assert caught.value.code == "not-recognised"


def test_image_that_shows_more_than_the_bundle_was_made_for_is_remarked_on(tiny_root, tmp_path):
    root = shutil.copytree(tiny_root, tmp_path / "tiny_segmentation")
    path = root / "configs" / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "largest_field_mm": 20}))
    bundle = medkit.load(root, device="cpu")
    image = np.random.default_rng(0).random((19, 21, 9), np.float32)
    assert bundle.predict(image, np.diag([1, 0.9, 1, 1])).notes == ()
    (note,) = bundle.predict(image, np.eye(4)).notes
    assert "covers 19 x 21 x 9 mm" in note
    assert "up to 20 mm" in note


@pytest.mark.parametrize("codes", [(0, 0), (0, 1), (1, 0)], ids=str)
def test_left_and_right_are_never_guessed(tiny_root, tmp_path, codes):
    """A NIfTI whose codes are both 0 does not say where the patient's left is."""
    sided = medkit.load(with_names(tiny_root, tmp_path))
    image = nifti(IMAGE, PLAIN)
    image.set_qform(PLAIN, codes[0])
    image.set_sform(PLAIN, codes[1])
    path = tmp_path / "a.nii.gz"
    nib.save(image, path)
    if any(codes):
        assert sided.predict(path).labels.any()
        return
    with pytest.raises(
        CaseError, match=r"expected an image that states its left and right, for .* tells them"
    ) as raised:
        sided.predict(path)
    assert raised.value.code == "side-unknown"
