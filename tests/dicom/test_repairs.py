"""Repairs interpolate linearly: what is linear in space stays what it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medkit.dicom import read
from medkit.dicom.repairs import regrid
from tests.dicom_series.grids import grid
from tests.dicom_series.stacks import Stack, save

FIELD = np.array([0.31, -0.47, 0.83])


def affine(shear=(0.0, 0.0), step=2.5):
    made = np.diag([-0.9, -0.7, 1.0, 1.0])
    made[:3, 2] = [shear[0], shear[1], step]
    made[:3, 3] = [10, 20, -5]
    return made


def linear(origins, shape):
    """Values of a linear function of the place, slice by slice."""
    i, j = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    plane = np.stack([i * -0.9, j * -0.7, 0 * i], axis=-1)
    return np.stack([(plane + origin) @ FIELD for origin in origins], axis=-1)


def check(made):
    index = np.moveaxis(np.indices(made.array.shape), 0, -1)
    places = index @ made.affine[:3, :3].T + made.affine[:3, 3]
    inside = ~made.outside
    # What lies nearer to the grid than rounding, half a hundredth of a voxel, is not interpolated.
    np.testing.assert_allclose(made.array[inside], (places @ FIELD)[inside], atol=2e-2)
    return inside


@given(shear=st.tuples(*[st.floats(-2, 2)] * 2))
def test_a_tilt_is_taken_away(shear):
    made_of = affine(shear)
    origins = made_of[:3, 3] + np.arange(7)[:, None] * made_of[:3, 2]
    array = linear(origins, (9, 8))
    made = regrid(array, None, made_of, origins, upright=True, step=None)
    inside = check(made)
    assert np.allclose(made.affine[:3, :2].T @ made.affine[:3, 2], 0)
    assert made.array.shape[2] == 7
    # Each slice is there but for less than one voxel at each end.
    assert (inside.sum((0, 1)) >= 8 * 7).all()
    assert (made.array[~inside] == np.float32(array.min())).all()


@given(steps=st.lists(st.floats(1, 6), min_size=2, max_size=9), step=st.floats(0.5, 4))
def test_uneven_slices_become_even(steps, step):
    origins = np.array([10, 20, -5]) + np.outer(np.concatenate([[0], np.cumsum(steps)]), [0, 0, 1])
    made = regrid(linear(origins, (5, 4)), None, affine(), origins, upright=False, step=step)
    assert check(made).all()
    assert made.affine[2, 2] <= step * 1.005 + 1e-9
    last = made.affine @ [0, 0, made.array.shape[2] - 1, 1]
    np.testing.assert_allclose(last[:3], origins[-1], atol=1e-9)
    assert np.isclose(made.bridged_mm, max(steps))


def test_slices_that_jitter_keep_what_they_have_in_common():
    origins = np.array([10, 20, -5]) + np.outer(np.arange(6), [0, 0, 2.5])
    origins[1:-1, 0] += [0.4, -0.4, 0.2, 0]
    made = regrid(linear(origins, (9, 8)), None, affine(), origins, upright=False, step=2.5)
    assert check(made).all()
    assert made.array.shape == (7, 8, 6)


@pytest.mark.parametrize("upright", [False, True])
def test_slices_on_the_grid_survive_the_rounding_of_their_positions(upright):
    rng = np.random.default_rng(0)
    origins = np.array([10, 20, -5]) + np.outer(np.arange(20), [0, 0, 3.0])
    origins = np.round(origins + rng.uniform(-1e-3, 1e-3, origins.shape), 3)
    array = rng.integers(0, 1000, (9, 8, 20))
    made = regrid(array, None, affine(step=3), origins, upright=upright, step=None if upright else 3.0)
    assert np.array_equal(made.array, array)
    there = np.delete(np.arange(20), [4, 11, 12])
    made = regrid(array[..., there], None, affine(step=3), origins[there], upright=False, step=3.0)
    assert made.array.shape == (9, 8, 20)
    assert np.array_equal(made.array[..., there], array[..., there])


@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_a_slice_for_each_that_is_missing(tilt, tmp_path):
    rng = np.random.default_rng(0)
    place = grid(rng, angles=(tilt, 0.2, -0.3), shear=(0, float(np.tan(tilt))), shape=(12, 10, 20))
    stack = Stack(rng, place)
    save_rounded(stack, tmp_path / "whole", range(20))
    there = [number for number in range(20) if number not in (4, 11, 12)]
    save_rounded(stack, tmp_path / "gaps", there)
    (whole,) = read(tmp_path / "whole").volumes
    (mended,) = read(tmp_path / "gaps", repairs=["resample"]).volumes
    assert mended.array.shape == whole.array.shape
    assert np.array_equal(mended.array[..., there], whole.array[..., there])
    np.testing.assert_allclose(mended.affine, whole.affine, atol=2e-3)
    assert mended.repairs[0].message.startswith("17 slices interpolated onto 20 at even distances")


def save_rounded(stack, folder, numbers):
    """Files with positions in thousandths of a millimetre, as many a scanner writes them."""
    folder.mkdir()
    for number in numbers:
        dataset = stack.datasets[number]
        dataset.ImagePositionPatient = [f"{float(edge):.3f}" for edge in dataset.ImagePositionPatient]
        save(folder / f"{number}.dcm", dataset)
