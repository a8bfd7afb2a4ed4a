"""Every format gives the same voxels, of the type in the file, in the same place."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from medkit.data.reading import read_volume, volume_from_itk, volume_from_nibabel
from tests.data.reading.files import IMAGE, itk_image, write_image
from tests.phantoms import OBLIQUE, SHAPE, nifti, patched, write_hippocampus

NIFTI_TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]


@pytest.mark.parametrize(
    "name",
    [
        "a.nii",
        "a.nii.gz",
        "a.img",
        "a.hdr",
        "a.img.gz",
        "a.hdr.gz",
        "a.mgz",
        "a.nrrd",
        "a.nhdr",
        "a.mha",
        "a.mhd",
    ],
)
def test_every_format_gives_the_same_voxels_in_the_same_place(tmp_path, name):
    volume = read_volume(write_image(tmp_path / name))
    assert volume.array.dtype == IMAGE.dtype
    np.testing.assert_array_equal(volume.array, IMAGE)
    np.testing.assert_allclose(volume.grid.affine, OBLIQUE, atol=2e-5)
    assert volume.grid.shape == SHAPE
    assert volume.name == str(tmp_path / name)
    assert volume.notes == ()


@pytest.mark.parametrize("name", ["bild über gehirn.nii.gz", "脳.nrrd", "脳 1.mha", "UPPER.NII.GZ"])
def test_names_with_blanks_and_other_scripts(tmp_path, name):
    np.testing.assert_array_equal(read_volume(write_image(tmp_path / name)).array, IMAGE)


def test_link_to_a_file(tmp_path):
    write_hippocampus(tmp_path / "a.nii.gz")
    (tmp_path / "b.nii.gz").symlink_to(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii.gz").array, IMAGE)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("code", NIFTI_TYPES)
def test_voxels_keep_their_type_in_native_order(tmp_path, code, order, kind):
    array = np.clip(IMAGE, 0, 120).astype(code)
    image = nifti(array, kind=kind)
    header = image.header.as_byteswapped(order)
    nib.save(kind(array, None, header, dtype=array.dtype), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert volume.array.dtype == np.dtype(code)
    assert volume.array.dtype.isnative
    np.testing.assert_array_equal(volume.array, array)


@pytest.mark.parametrize(("slope", "inter"), [(1, -1024), (0.1, 0), (1.7e-3, 3.3), (-2, 0.5)])
def test_scaled_voxels_are_what_monai_makes_of_them(tmp_path, slope, inter):
    from monai.transforms import LoadImage

    path = write_image(tmp_path / "a.nii")
    patched(path, scl_slope=slope, scl_inter=inter)
    array = read_volume(path).array
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, LoadImage(reader="NibabelReader")(path).numpy())
    np.testing.assert_allclose(array, IMAGE * np.float64(np.float32(slope)) + np.float32(inter), rtol=1e-5)


@pytest.mark.parametrize("slope", [np.nan, np.inf, 0])
def test_no_slope_means_unscaled(tmp_path, slope):
    array = read_volume(patched(write_image(tmp_path / "a.nii"), scl_slope=slope)).array
    assert array.dtype == np.int16
    np.testing.assert_array_equal(array, IMAGE)


def test_images_in_memory():
    for volume in (volume_from_nibabel(nifti(IMAGE)), volume_from_itk(itk_image())):
        np.testing.assert_array_equal(volume.array, IMAGE)
        np.testing.assert_allclose(volume.grid.affine, OBLIQUE, atol=1e-12)


def test_real_hippocampi(real_data):
    files = sorted((real_data / "hippocampus").glob("*/*.nii.gz"))
    assert len(files) > 300
    for file in files:
        volume = read_volume(file)
        assert volume.grid.spacing == (1, 1, 1)
        np.testing.assert_array_equal(volume.array, np.asanyarray(nib.load(file).dataobj))
