"""Repairs interpolate linearly: what is linear in space stays what it was."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medkit.dicom.repairs import regrid

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
    np.testing.assert_allclose(made.array[inside], (places @ FIELD)[inside], atol=1e-4)
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
    assert made.affine[2, 2] <= step + 1e-9
    last = made.affine @ [0, 0, made.array.shape[2] - 1, 1]
    np.testing.assert_allclose(last[:3], origins[-1], atol=1e-9)
    assert np.isclose(made.bridged_mm, max(steps))


def test_slices_that_jitter_keep_what_they_have_in_common():
    origins = np.array([10, 20, -5]) + np.outer(np.arange(6), [0, 0, 2.5])
    origins[1:-1, 0] += [0.4, -0.4, 0.2, 0]
    made = regrid(linear(origins, (9, 8)), None, affine(), origins, upright=False, step=2.5)
    assert check(made).all()
    assert made.array.shape == (7, 8, 6)
