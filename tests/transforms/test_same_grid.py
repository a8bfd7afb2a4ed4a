"""A label map that does not lie where its image does is refused when it is read for a training."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import Compose, LoadImaged, Orientationd, Spacingd

from medkit.data import VolumeReader
from medkit.errors import CaseError
from medkit.transforms.same_grid import SameGridd
from tests.phantoms import nifti

AFFINE = np.diag([-2.0, 2.0, 3.0, 1.0])


@pytest.fixture
def item(tmp_path):
    def write(affine=AFFINE, shape=(8, 9, 10)):
        nib.save(nifti(np.ones((8, 9, 10), np.int16), AFFINE), tmp_path / "image.nii.gz")
        nib.save(nifti(np.ones(shape, np.uint8), affine), tmp_path / "label.nii.gz")
        return {key: str(tmp_path / f"{key}.nii.gz") for key in ("image", "label")}

    return write


def load(*keys):
    return LoadImaged(list(keys), reader=VolumeReader, ensure_channel_first=True)


def test_one_grid_passes(item):
    read = load("image", "label")(item())
    assert SameGridd("label", "image")(read) is read


def test_the_grids_of_the_files_count_wherever_the_image_was_moved_to(item):
    moved = Compose(
        [
            load("image"),
            Orientationd("image", "RAS"),
            Spacingd("image", (1, 1, 1)),
            load("label"),
            SameGridd("label", "image"),
        ]
    )
    assert moved(item())["image"].shape != (1, 8, 9, 10)
    with pytest.raises(RuntimeError) as caught:
        moved(item(np.diag([2.0, 2.0, 3.0, 1.0])))
    assert caught.value.__cause__.code == "grids-differ"


@pytest.mark.parametrize(
    ("affine", "shape", "message"),
    [
        (
            np.diag([2.0, 2.0, 3.0, 1.0]),
            (8, 9, 10),
            "label.nii.gz: expected the grid of .*image.nii.gz, got voxels up to",
        ),
        (AFFINE, (8, 9, 9), r"got shape \(8, 9, 9\) instead of \(8, 9, 10\)"),
    ],
    ids=["mirrored", "fewer planes"],
)
def test_others_are_refused(item, affine, shape, message):
    with pytest.raises(CaseError, match=message) as caught:
        SameGridd("label", "image")(load("image", "label")(item(affine, shape)))
    assert caught.value.code == "grids-differ"
