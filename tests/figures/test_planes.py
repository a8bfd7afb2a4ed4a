"""Planes in radiological convention, whatever way a volume is stored."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import center_of_mass
from scipy.spatial.transform import Rotation

from medkit.figures.planes import VIEWS, Pose, focus, most_telling, plane
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


def two_sides(bridge=1):
    """Two mirrored halves, 1 and 2, each with a core, 3 and 4, joined in the middle by a little of the first half."""
    labels = np.zeros((41, 30, 20), np.uint8)
    labels[3:18, 5:25, 3:17], labels[23:38, 5:25, 3:17] = 1, 2
    labels[8:13, 12:18, 8:13], labels[28:33, 12:18, 8:13] = 3, 4
    labels[18:23, 14 : 14 + bridge, 9:11] = 1
    return labels


def test_a_plane_between_two_sides_moves_to_where_all_of_one_shows():
    x, y, z = most_telling(two_sides(), [(1, 2), (3, 4)], (20, 15, 10))
    assert x in (12, 28)
    assert (y, z) == (15, 10), "where all shows already"


def test_a_plane_stays_where_no_other_shows_more():
    labels = two_sides()
    assert most_telling(labels, [(1, 2)], (10, 14, 9)) == (10, 14, 9)
    assert most_telling(labels, [(3,)], (9, 12, 12)) == (9, 12, 12)
    assert most_telling(labels, [(7,)], (20, 1, 2)) == (20, 1, 2), "nothing of it anywhere"
    assert most_telling(labels, [], (20, 1, 2)) == (20, 1, 2)


def test_the_rim_of_a_structure_does_not_show_it():
    labels = np.zeros((40, 12, 12), np.uint8)
    labels[2:14, 1:11, 1:11] = 1
    labels[13:33, 5, 5] = 2  # from inside of the first on, thin and then thick
    labels[20:30, 3:8, 3:8] = 2
    assert most_telling(labels, [(1,), (2,)], (10, 5, 5))[0] == 10
    labels[13, 3:8, 3:8] = 2
    assert most_telling(labels, [(1,), (2,)], (10, 5, 5))[0] == 13


def test_planes_of_a_large_image_are_among_its_own():
    labels = np.repeat(np.repeat(two_sides(), 11, axis=0), 5, axis=1)
    for centre in ((222, 77, 10), (225, 149, 19), (0, 0, 0)):
        x, y, z = most_telling(labels, [(1, 2), (3, 4)], centre)
        assert {1, 3} <= {*np.unique(labels[x])} or {2, 4} <= {*np.unique(labels[x])}
        assert {3, 4} <= {*np.unique(labels[:, y])}
        assert {3, 4} <= {*np.unique(labels[:, :, z])}


def test_large_numbers_of_labels_take_no_table_of_all():
    labels = two_sides().astype(np.uint32) * 1_000_000_000
    assert most_telling(labels, [(3_000_000_000, 4_000_000_000)], (20, 15, 10))[0] in (12, 28)
