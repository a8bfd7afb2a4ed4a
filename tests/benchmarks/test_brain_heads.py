"""Synthetic heads: the same every time, in slices where the affine says they are, with the classes of a training."""

from __future__ import annotations

import shutil
from itertools import product

import nibabel as nib
import numpy as np
import pytest
from brain_heads import CONTRASTS, FREE, SPACINGS, SyntheticHeads, along_axis, no_brains, real_heads

from medkit.bundle.build import bundles_root
from medkit.bundle.instance import read_config
from medkit.bundle.store import BundleFolder
from medkit.errors import UsageError
from tests.head_phantom import head
from tests.tiny_bundle import edit_json

NAME = "map_1"


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / f"{NAME}.nii.gz"
    labels = head((60, 70, 64))[0, 0].numpy().astype(np.int16)
    nib.save(nib.Nifti1Image(labels[::-1], np.diag([-1.0, 1, 1, 1])), path)  # stored from right to left
    config = read_config(BundleFolder(bundles_root() / "brain_anatomy_segmentation"), "train")
    return SyntheticHeads({NAME: path}, config["classes"])


@pytest.mark.usefixtures("real_data")
def test_maps_that_a_network_learned_from_are_not_held_out(tmp_path):
    root = shutil.copytree(bundles_root() / "brain_extraction", tmp_path / "brain_extraction")
    held_out = SyntheticHeads.held_out_of(BundleFolder(root)).maps
    assert list(held_out) == [f"training_seg_{number}" for number in ("01", "04", "10")]
    edit_json(
        root / "configs" / "metadata.json",
        lambda found: found["training"]["train_cases"].append(list(held_out)[1]),
    )
    with pytest.raises(
        UsageError, match="without fold 0, got one that learned from training_seg_04; train it with"
    ):
        SyntheticHeads.held_out_of(BundleFolder(root))
    edit_json(root / "configs" / "metadata.json", lambda found: found["training"].pop("train_cases"))
    with pytest.raises(UsageError, match="training::train_cases, got none; adopt"):
        SyntheticHeads.held_out_of(BundleFolder(root))


@pytest.mark.parametrize("contrast", ["T2", FREE])
def test_a_head_is_always_the_same(heads, contrast):
    first, again = (heads.make(NAME, contrast, 5.0) for _ in range(2))
    np.testing.assert_array_equal(first.image.array, again.image.array)
    np.testing.assert_array_equal(first.truth, again.truth)


def test_slices_lie_where_the_affine_says(heads):
    fine, thick = (heads.make(NAME, "T2", spacing) for spacing in (1.0, 5.0))
    np.testing.assert_array_equal(fine.truth, thick.truth)
    axis = along_axis(0, "T2")
    assert thick.image.grid.spacing[axis] == 5
    places = thick.image.grid.affine[axis, 3] + 5 * np.arange(thick.image.grid.shape[axis])
    moved = np.moveaxis(fine.image.array, axis, 0)
    whole = [k for k, place in enumerate(places) if 2.5 <= place <= len(moved) - 3.5]
    expected = [
        np.average(moved[int(places[k] - 2.5) : int(places[k] + 3.5)], axis=0, weights=[0.5, 1, 1, 1, 1, 0.5])
        for k in whole
    ]
    found = np.moveaxis(thick.image.array, axis, 0)[whole]
    right = np.corrcoef(np.ravel(expected), found.ravel())[0, 1]
    beside = np.corrcoef(np.ravel(expected[1:]), found[:-1].ravel())[0, 1]
    assert right > 0.98 > beside


def test_labels_are_the_classes_of_the_bundle(heads):
    made = heads.make(NAME, "T2", 1.0)
    left, right = (np.argwhere(made.truth == value) for value in (1, 19))
    assert len(left) > 1000 < len(right)
    assert left[:, 0].mean() < right[:, 0].mean()
    assert made.truth.max() <= 32
    assert made.image.grid.shape == made.grid.shape


def test_contrasts_look_different_and_have_the_same_anatomy(heads):
    t1, t2 = (heads.make(NAME, contrast, 1.0) for contrast in CONTRASTS[:2])
    np.testing.assert_array_equal(t1.truth, t2.truth)
    white = t1.truth == 1
    ventricle = t1.truth == 3
    assert t1.image.array[white].mean() > t1.image.array[ventricle].mean()
    assert t2.image.array[white].mean() < t2.image.array[ventricle].mean()


def test_slices_lie_along_each_axis_as_often():
    axes = [along_axis(place, contrast) for place, contrast in product(range(3), CONTRASTS)]
    assert sorted(axes) == [0] * 5 + [1] * 5 + [2] * 5
    assert SPACINGS[0] == 1


def test_real_heads_are_there(real_data):
    heads = real_heads()
    assert len([name for name in heads if name.startswith("IXI")]) == 64
    assert len(heads) == 1 + 64 + 6 + 1
    read = heads["patient 01 (native, 3 to 4 mm), T1"]()
    assert read.grid.shape == (320, 320, 39)
    bodies = no_brains()
    assert len(bodies) == 6
    assert not bodies["zeros"].array.any()
