"""A volume from memory is what it would be from a NIfTI file."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medkit.data.grid import Grid
from medkit.data.nifti_form import in_nifti_form
from medkit.data.reading import read_volume
from medkit.data.volume import Volume
from medkit.data.writing import write_volume
from medkit.errors import CaseError
from tests.phantoms import OBLIQUE, hippocampus

TYPES = ["i1", "u1", "<i2", ">i2", "u2", "i4", "u4", "i8", "f2", "f4", ">f4", "f8", "?"]


def from_file(volume, folder):
    path = folder / "image.nii"
    write_volume(path, volume.array, volume.grid)
    return read_volume(path)


def check_same(formed, read):
    assert formed.array.dtype == read.array.dtype
    assert formed.array.strides == read.array.strides
    assert np.array_equal(formed.array, read.array)
    assert formed.grid == read.grid
    assert formed.notes == read.notes


@settings(max_examples=40)
@given(
    st.sampled_from(TYPES),
    st.sampled_from([(3, 4, 5), (3, 4, 5, 2)]),
    st.sampled_from("CF"),
    st.lists(st.floats(-3, 3), min_size=3, max_size=3),
    st.lists(st.floats(0.3, 7), min_size=3, max_size=3),
    st.integers(0, 2**31),
)
def test_it_is_what_the_file_gives(tmp_path_factory, kind, shape, order, angles, edges, seed):
    random = np.random.default_rng(seed)
    matrix = nib.eulerangles.euler2mat(*angles) @ np.diag(edges)
    affine = nib.affines.from_matvec(matrix, random.normal(0, 100, 3))
    array = np.asarray(random.integers(0, 2 if kind == "?" else 100, shape), dtype=kind, order=order)
    volume = Volume(array, Grid(shape[:3], affine))
    check_same(in_nifti_form(volume), from_file(volume, tmp_path_factory.mktemp("form")))


def test_a_tilted_volume_keeps_its_shear(tmp_path):
    sheared = OBLIQUE @ np.array([[1, 0, 0, 0], [0, 1, 0.3, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    volume = Volume(hippocampus()[0], Grid((13, 11, 9), sheared))
    formed = in_nifti_form(volume)
    check_same(formed, from_file(volume, tmp_path))
    assert np.allclose(formed.grid.affine, sheared, atol=1e-5)
    assert not np.array_equal(formed.grid.affine, sheared), "single precision shows"


def test_voxels_in_the_order_of_a_file_are_not_copied():
    array = np.asfortranarray(hippocampus()[0])
    formed = in_nifti_form(Volume(array, Grid(array.shape, OBLIQUE)))
    assert np.shares_memory(formed.array, array)


def test_a_volume_that_is_unfit_is_refused_by_its_name():
    array = np.full((3, 3, 3), np.nan, np.float32)
    with pytest.raises(CaseError, match=r"^series 003: expected finite voxels") as error:
        in_nifti_form(Volume(array, Grid((3, 3, 3), OBLIQUE), "series 003"))
    assert error.value.code == "voxels-not-finite"
