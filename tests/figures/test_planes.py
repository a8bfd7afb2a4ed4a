"""Planes in radiological convention, whatever way a volume is stored."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import center_of_mass
from scipy.spatial.transform import Rotation

from medkit.figures.planes import VIEWS, Pose, focus, plane
from tests.figures.orientations import ALL_ORIENTATIONS, SPACING, stored_as


@pytest.mark.parametrize("axcodes", ALL_ORIENTATIONS, ids="".join)
def test_every_orientation_comes_out_as_right_anterior_superior(axcodes):
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    stored, affine = stored_as(array, axcodes)
    pose = Pose(affine)
    np.testing.assert_array_equal(pose.apply(stored), array)
    np.testing.assert_allclose(pose.spacing, SPACING)
    assert pose.tilt_degrees == pytest.approx(0.0, abs=1e-4)
    index = pose.index_in_array((1, 2, 3), array.shape)
    assert stored[tuple(index.astype(int))] == array[1, 2, 3]


def test_tilt_is_the_angle_of_the_worst_axis():
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("x", 12, degrees=True).as_matrix() * 0.7
    assert Pose(affine).tilt_degrees == pytest.approx(12.0)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_borders_of_a_plane_are_where_its_letters_say(view):
    ends = {"R": (0, -1), "L": (0, 0), "A": (1, -1), "P": (1, 0), "S": (2, -1), "I": (2, 0)}
    pictured = {0: np.s_[:, 0], 1: np.s_[:, -1], 2: np.s_[0], 3: np.s_[-1]}
    for place, letter in enumerate(view.letters):
        axis, end = ends[letter]
        volume = np.zeros((5, 6, 7))
        np.moveaxis(volume, axis, 0)[end] = 1
        picture = plane(volume, view, 3)
        assert picture[pictured[place]].all()
        assert picture.sum() == picture[pictured[place]].sum()


def test_focus_is_the_centre_of_mass():
    mask = np.zeros((20, 21, 22), bool)
    mask[3:8, 10:15, 2:9] = True
    assert focus(mask) == tuple(round(centre) for centre in center_of_mass(mask))


def test_focus_between_two_sides_moves_into_the_larger():
    mask = np.zeros((20, 10, 10), bool)
    mask[2:4, 4:7, 4:7] = True
    mask[15:19, 3:8, 4:7] = True
    x, y, z = focus(mask)
    assert 15 <= x < 19
    assert mask[x].any()
    assert (y, z) == (5, 5)


def test_focus_of_nothing_is_the_middle():
    assert focus(np.zeros((7, 8, 9), bool)) == (3, 4, 4)
