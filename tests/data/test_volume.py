from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage

from medkit.data import Volume, as_volume, read_volume
from medkit.data.grid import Grid
from medkit.errors import CaseError, UsageError
from tests.phantoms import OBLIQUE, SHAPE, hippocampus, nifti, write_hippocampus

IMAGE, _ = hippocampus()


@pytest.fixture
def path(tmp_path):
    write_hippocampus(tmp_path / "a.nii.gz")
    return tmp_path / "a.nii.gz"


def metatensor(array=IMAGE[None], affine=OBLIQUE, **meta):
    return MetaTensor(torch.as_tensor(array), affine=torch.tensor(affine), meta=meta)


FORMS = {
    "path": lambda path: as_volume(path),
    "text": lambda path: as_volume(str(path)),
    "list": lambda path: as_volume([path]),
    "nibabel from a file": lambda path: as_volume(nib.load(path)),
    "nibabel": lambda path: as_volume(nifti(IMAGE)),
    "SimpleITK": lambda path: as_volume(sitk.ReadImage(path)),
    "MetaTensor": lambda path: as_volume(metatensor()),
    "MetaTensor from MONAI": lambda path: as_volume(LoadImage(ensure_channel_first=True)(path)),
    "MetaTensor in LPS": lambda path: as_volume(
        metatensor(affine=np.diag([-1, -1, 1, 1]) @ OBLIQUE, space="LPS")
    ),
    "array": lambda path: as_volume(IMAGE, OBLIQUE),
    "array and list": lambda path: as_volume(IMAGE, OBLIQUE.tolist()),
    "tensor": lambda path: as_volume(torch.as_tensor(IMAGE), torch.tensor(OBLIQUE)),
    "volume": lambda path: as_volume(read_volume(path)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_volume(path, form):
    volume = FORMS[form](path)
    np.testing.assert_array_equal(volume.array, IMAGE)
    np.testing.assert_allclose(volume.grid.affine, OBLIQUE, atol=2e-5)
    assert volume.grid.shape == SHAPE


def test_volumes_are_called_by_their_file(path):
    for form in (path, str(path), [path], nib.load(path)):
        assert as_volume(form).name == str(path)
    assert as_volume(nifti(IMAGE)).name == "<nibabel image>"
    assert as_volume(IMAGE, OBLIQUE).name == "<array>"


def test_channels():
    both = np.stack([IMAGE, IMAGE + 1], -1)
    for volume in (as_volume(both, OBLIQUE), as_volume(metatensor(np.moveaxis(both, -1, 0)))):
        np.testing.assert_array_equal(volume.array, both)
        assert volume.grid.shape == SHAPE


def test_tensors_that_numpy_cannot_hold():
    tensor = torch.as_tensor(IMAGE)
    for volume in (
        as_volume(metatensor(tensor[None].bfloat16()).requires_grad_()),
        as_volume(tensor.bfloat16(), torch.tensor(OBLIQUE)),
        as_volume(tensor.float().requires_grad_(), torch.tensor(OBLIQUE).requires_grad_()),
    ):
        assert volume.array.dtype == np.float32
        np.testing.assert_allclose(volume.array, IMAGE, rtol=0.01)
        np.testing.assert_allclose(volume.grid.affine, OBLIQUE)


@pytest.mark.parametrize("form", ["array", "nibabel", "MetaTensor", "volume"])
def test_a_transposed_affine_is_refused(form):
    turned = OBLIQUE.T
    image, affine = {
        "array": (IMAGE, turned),
        "nibabel": (nib.Nifti1Image(IMAGE, turned), None),
        "MetaTensor": (metatensor(affine=turned), None),
        "volume": (Volume(IMAGE, Grid(SHAPE, turned)), None),
    }[form]
    with pytest.raises(UsageError, match=r"last row is 0 0 0 1, got -31\.25 17\.5 44 1; transpose it"):
        as_volume(image, affine)


def test_the_last_row_of_an_affine_may_be_rounded():
    rounded = OBLIQUE + np.array([[0], [0], [0], [1e-9]])
    np.testing.assert_array_equal(as_volume(IMAGE, rounded).array, IMAGE)


def test_the_hash_tells_voxels_type_shape_and_place_but_not_memory_order():
    def digest(array=IMAGE, affine=OBLIQUE):
        return Volume(array, Grid(array.shape, affine)).sha256()

    nudged, moved = IMAGE.copy(), OBLIQUE.copy()
    nudged[-1, -1, -1] += 1
    moved[0, 3] += 1
    others = [
        digest(nudged),
        digest(IMAGE.view(np.uint16)),
        digest(IMAGE.reshape(9, 11, 13)),
        digest(affine=moved),
    ]
    assert len({digest(), *others}) == 5
    assert digest(np.asfortranarray(IMAGE)) == digest()


@pytest.mark.parametrize(
    ("image", "affine", "message"),
    [
        (IMAGE, None, "pass its affine"),
        (torch.as_tensor(IMAGE), None, "pass its affine"),
        (IMAGE, np.eye(3), r"shape \(4, 4\), got \(3, 3\)"),
        (IMAGE, "RAS", "4x4 numbers"),
        ("a.nii.gz", OBLIQUE, "str has its own affine"),
        (["a.nii.gz"], OBLIQUE, "list has its own affine"),
        (nifti(IMAGE), OBLIQUE, "its own affine"),
        (metatensor(), OBLIQUE, "its own affine"),
        (metatensor(IMAGE), None, "add its channel axis"),
        ([], None, "empty list"),
        ([1.5, 2], None, "cannot take an image of type list"),
        (None, None, "cannot take an image of type NoneType"),
        ({"image": "a.nii"}, None, "cannot take an image of type dict"),
    ],
)
def test_what_cannot_be_an_image(image, affine, message):
    with pytest.raises(UsageError, match=message):
        as_volume(image, affine)


def test_images_in_memory_are_checked_like_files():
    spoilt = IMAGE.astype(np.float32)
    spoilt[0, 0, 0] = np.nan
    bad_nifti = nifti(IMAGE)
    bad_nifti.header.set_xyzt_units("meter")
    for image, affine, code in [
        (spoilt, OBLIQUE, "voxels-not-finite"),
        (metatensor(spoilt[None]), None, "voxels-not-finite"),
        (Volume(spoilt, Grid(SHAPE, OBLIQUE)), None, "voxels-not-finite"),
        (IMAGE[0], OBLIQUE, "not-3d"),
        (np.float32(3), OBLIQUE, "not-3d"),
        (sitk.Image(4, 4, sitk.sitkUInt8), None, "not-3d"),
        (sitk.Image([4, 4, 4, 4], sitk.sitkUInt8), None, "not-3d"),
        (IMAGE, np.zeros((4, 4)), "spacing-absurd"),
        (bad_nifti, None, "units-not-mm"),
        ("gone.nii", None, "file-missing"),
    ]:
        with pytest.raises(CaseError) as caught:
            as_volume(image, affine)
        assert caught.value.code == code
