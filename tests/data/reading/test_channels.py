"""Channels: from the axes of one file, or one file each on one grid."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medkit.data.reading import read_channels, read_volume
from medkit.errors import CaseError, UsageError
from tests.data.reading.files import IMAGE, itk_image, save, write_image
from tests.phantoms import OBLIQUE, SHAPE, hippocampus, nifti, patched, write_hippocampus


@pytest.mark.parametrize("tail", [(4,), (1,), (1, 1), (1, 4), (4, 1)])
def test_channels_may_lie_on_the_fourth_or_the_fifth_axis(tmp_path, tail):
    array = np.stack([IMAGE + c for c in range(np.prod(tail))], -1).reshape(*SHAPE, *tail)
    nib.save(nifti(array), tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.array, array.reshape(SHAPE if 4 not in tail else (*SHAPE, 4)))


def test_itk_vectors_become_channels(tmp_path):
    sitk.WriteImage(sitk.Compose(itk_image(), itk_image(IMAGE + 1)), tmp_path / "a.nrrd")
    volume = read_volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(volume.array, np.stack([IMAGE, IMAGE + 1], -1))
    np.testing.assert_allclose(volume.grid.affine, OBLIQUE, atol=1e-9)


def test_one_file_per_channel(tmp_path):
    for seed in (0, 1):
        write_hippocampus(tmp_path / f"{seed}.nii.gz", seed=seed)
    volume = read_channels([tmp_path / "0.nii.gz", tmp_path / "1.nii.gz"])
    np.testing.assert_array_equal(volume.array, np.stack([IMAGE, hippocampus(seed=1)[0]], -1))


def test_a_remark_on_every_channel_is_made_once(tmp_path):
    path = patched(write_image(tmp_path / "a.nii"), xyzt_units=0)
    assert len(read_channels([path, path, path]).notes) == 1


def test_channels_must_share_a_grid(tmp_path):
    first = save(tmp_path / "a.nii", IMAGE)
    shifted = OBLIQUE.copy()
    shifted[:3, 3] += 0.5
    rounded = OBLIQUE + 1e-5
    assert read_channels([first, save(tmp_path / "b.nii", IMAGE, rounded)]).array.shape == (*SHAPE, 2)
    for other in (
        save(tmp_path / "moved.nii", IMAGE, shifted),
        save(tmp_path / "small.nii", IMAGE[:-1]),
        save(tmp_path / "4d.nii", np.stack([IMAGE] * 2, -1)),
    ):
        with pytest.raises(CaseError, match=f"{other}.*expected.*got") as caught:
            read_channels([first, other])
        assert caught.value.code == "channels-on-different-grids"


def test_an_empty_list_of_channels_is_a_fault_of_the_call():
    with pytest.raises(UsageError, match="empty list"):
        read_channels([])
