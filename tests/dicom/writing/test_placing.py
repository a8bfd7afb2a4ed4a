"""Arrays come onto the grid of their source by where their voxels lie."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medkit.dicom.result import SeriesVolume
from medkit.dicom.writing.placing import as_frames, check_upright, on_grid
from medkit.errors import CaseError
from tests.dicom.writing.sources import geometry
from tests.figures.orientations import ALL_ORIENTATIONS

turns = st.integers(0, len(ALL_ORIENTATIONS) - 1)


def volume(axcodes="LPS", *, oblique=True, shape=(4, 3, 5)):
    array, affine = geometry(axcodes, oblique=oblique, shape=shape)
    return SeriesVolume(array, affine, (), (), (), "003", "1.2", "1.1", "MR")


def in_other_axes(array, affine, number):
    signs = nib.orientations.axcodes2ornt(ALL_ORIENTATIONS[number])
    turned = nib.orientations.apply_orientation(array, signs)
    return turned, affine @ nib.orientations.inv_ornt_aff(signs, array.shape[:3])


@given(turns, turns, st.booleans(), st.tuples(*[st.integers(1, 4)] * 3))
def test_whatever_the_axes_each_voxel_finds_its_place(source, other, oblique, shape):
    target = volume(ALL_ORIENTATIONS[source], oblique=oblique, shape=shape)
    array, affine = in_other_axes(target.array, target.affine, other)
    assert np.array_equal(on_grid(array, affine, target), target.array)
    channels = np.stack([array, -array], axis=-1)
    assert np.array_equal(on_grid(channels, affine, target)[..., 1], -target.array)


def test_the_digits_that_nifti_drops_do_not_matter():
    target = volume()
    assert np.array_equal(on_grid(target.array, target.affine.astype(np.float32), target), target.array)


OTHER_GRIDS = {
    "other spacing": np.diag([1, 1, 1.1, 1]),
    "half a voxel": nib.affines.from_matvec(np.eye(3), [0, 0, 0.5]),
    "one voxel": nib.affines.from_matvec(np.eye(3), [0, 0, 1]),
    "sheared": nib.affines.from_matvec([[1, 1, 0], [0, 1, 0], [0, 0, 1]], [0, 0, 0]),
}


@pytest.mark.parametrize("change", OTHER_GRIDS.values(), ids=OTHER_GRIDS)
def test_another_grid_is_refused(change):
    target = volume()
    with pytest.raises(CaseError, match=r"series 1\.2: expected the grid of its volume 003") as error:
        on_grid(target.array, target.affine @ change, target)
    assert error.value.code == "grids-differ"


def test_another_size_is_refused():
    target = volume()
    with pytest.raises(CaseError, match="voxels instead of"):
        on_grid(target.array[1:], target.affine, target)


def test_an_affine_that_is_not_a_number_is_refused():
    target = volume()
    with pytest.raises(CaseError):
        on_grid(target.array, target.affine * np.nan, target)


def test_frames_have_rows_and_columns():
    array = np.arange(24).reshape(2, 3, 4)
    frames = as_frames(array)
    assert frames.shape == (4, 3, 2)
    assert frames[3, 2, 1] == array[1, 2, 3]
    assert as_frames(np.stack([array, array], axis=-1)).shape == (4, 3, 2, 2)


@given(turns)
def test_stacks_with_right_angles_pass(number):
    check_upright(volume(ALL_ORIENTATIONS[number]))


@pytest.mark.parametrize(("row", "column"), [(0, 2), (1, 2), (0, 1)])
def test_sheared_stacks_are_refused(row, column):
    target = volume()
    shear = np.eye(4)
    shear[row, column] = 0.2
    target = replace(target, affine=target.affine @ shear)
    with pytest.raises(CaseError) as error:
        check_upright(target)
    assert error.value.code == "source-sheared"


def test_a_single_slice_is_never_sheared():
    target = volume(shape=(4, 3, 1))
    target.affine[0, 2] += 0.5
    check_upright(target)


def test_a_volume_of_no_series_is_called_by_its_name():
    target = volume()
    with pytest.raises(CaseError, match=r"^series 1\.2: expected the grid"):
        on_grid(target.array[:2], target.affine, target)
    with pytest.raises(CaseError, match=r"^volume 003: expected the grid"):
        on_grid(target.array[:2], target.affine, replace(target, series_instance_uid=""))
