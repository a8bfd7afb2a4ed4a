"""Structures that are there, missing, cut or of a strange size: noted, and refused where too few are right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given as drawn
from hypothesis import strategies as st
from monai.data import MetaTensor

from medkit.errors import CaseError, UsageError
from medkit.transforms.clean_labels import NOTES_KEY
from medkit.transforms.expected_structures import ExpectedStructuresd

NAMES = {"0": "background", "1": "one", "2": "two", "3": "three", "4": "four"}
FLAT = "ends in a flat plane within the image, as where nothing was scanned beyond: volumes may be of a part"
VOLUMES = {"1": [0.05, 0.5], "2": [0.05, 0.5], "3": [0.05, 0.5], "4": [0.05, 0.5]}


def labels(edge=1.0, **boxes):
    """Cubes of 5^3 voxels, 0.125 ml at 1 mm, each in its place; others by name."""
    array = np.zeros((1, 32, 32, 32), np.float32)
    places = {"one": (2, 7), "two": (9, 14), "three": (16, 21), "four": (23, 28), **boxes}
    for value, (start, stop) in enumerate(places.values(), start=1):
        array[(0, *(slice(start, stop),) * 3)] = value
    return MetaTensor(torch.from_numpy(array), affine=np.diag([edge, edge, edge, 1.0]))


def notes(given, fewest=2, **options):
    step = ExpectedStructuresd("pred", VOLUMES, fewest, "a test", NAMES, **options)
    item = step({"pred": given, NOTES_KEY: ["before"]})
    assert item["pred"] is given
    assert item[NOTES_KEY][0] == "before"
    return item[NOTES_KEY][1:]


def test_nothing_is_said_of_what_is_right():
    assert notes(labels(), fewest=4) == []


def test_what_is_missing_cut_or_strange_is_named():
    given = labels(one=(0, 5), two=(9, 9), four=(23, 31))
    assert notes(given) == [
        "not in the image: two",
        "cut by the edge of the image, its volume is of a part: one",
        "of a size that is not to be believed: four (0.512 ml)",
    ]


def test_what_should_hang_together_and_lies_apart_is_noted():
    given = labels(two=(7, 12), three=(12, 17), four=(23, 28))  # cubes that touch at a corner are apart
    given[0, 6:8, 6:8, 6:8] = given[0, 11:13, 11:13, 11:13] = 2
    assert notes(given, one_piece=(1, 2, 3)) == [FLAT]
    told = "in pieces that lie apart: 0.387 ml, 0.125 ml; look whether each is of a test"
    assert notes(given, one_piece=[4, 3, 2, 1]) == [told, FLAT]
    given[0, 30, 30, 25:30] = 1
    assert notes(given, one_piece=(1, 2, 3)) == [FLAT], "a speck is no piece"
    assert notes(labels(one=(9, 9), two=(9, 9)), one_piece=(1, 2)) == ["not in the image: one, two"]


def ball(spacing=1.0):
    """Of 60 mm across, in the middle of 80, with slices so many mm thick."""
    z = np.arange(0, 80, spacing)
    place = np.meshgrid(np.arange(80), np.arange(80), z, indexing="ij")
    array = (sum((axis - 40) ** 2 for axis in place) < 30**2).astype(np.float32)
    return MetaTensor(torch.from_numpy(array[None]), affine=np.diag([1.0, 1.0, spacing, 1.0]))


def of_a_ball(given, **options):
    step = ExpectedStructuresd("pred", {"1": [1, 500]}, 1, "a ball", NAMES, one_piece=[1], **options)
    return step({"pred": given})[NOTES_KEY]


@pytest.mark.parametrize("spacing", [1.0, 3.0, 5.0])
@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("side", [1, -1])
def test_a_flat_end_within_the_image_is_noted(spacing, axis, side):
    """As of a field of view that was filled up with zeros."""
    given = ball(spacing)
    assert of_a_ball(given) == []
    turned = torch.flip(given, [axis]) if side < 0 else given
    turned.narrow(axis, 0, round(0.4 * turned.shape[axis])).zero_()
    assert of_a_ball(turned) == [FLAT]


def test_an_end_at_the_edge_of_the_image_is_told_once():
    given = ball()[:, 30:]
    assert of_a_ball(given) == ["cut by the edge of the image, its volume is of a part: one"]


def test_another_shape_is_refused():
    given = ball()
    assert of_a_ball(given, filling=0.95) == []
    given[0, 20:60, 38:42, 38:42] = 0  # a hole right through changes little
    assert of_a_ball(given, filling=0.9) == []
    specks = torch.rand(given.shape, generator=torch.Generator().manual_seed(0)) < 0.4
    with pytest.raises(
        CaseError, match=r"a ball, which fills 0.7 of an ellipsoid at least, got .* fills 0.3"
    ) as raised:
        of_a_ball(MetaTensor(specks.float(), affine=np.eye(4)), filling=0.7)
    assert raised.value.code == "not-recognised"


@drawn(edges=st.tuples(*[st.integers(8, 20)] * 3), skew=st.floats(-2, 2))
def test_what_a_box_fills_depends_on_no_affine(edges, skew):
    """n voxels of a box with second moments n^2 / 12 along each edge."""
    array = torch.zeros(1, 24, 24, 24)
    array[(0, *(slice(2, 2 + edge) for edge in edges))] = 1
    given = MetaTensor(array, affine=np.array([[2, skew, 0, 0], [0, 1, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1.0]]))
    filled = 1 / (4 / 3 * np.pi * (5 / 12) ** 1.5)
    of_a_ball(given, filling=filled - 1e-6)
    with pytest.raises(CaseError, match=r"got a shape that fills 0\.89"):
        of_a_ball(given, filling=filled + 1e-6)


@pytest.mark.parametrize(("filling", "one_piece"), [(1.5, [1]), (-0.1, [1]), (0.5, [])])
def test_odd_fillings(filling, one_piece):
    with pytest.raises(UsageError, match="filling: expected a part from 0 to 1 of what is in one_piece"):
        ExpectedStructuresd("pred", VOLUMES, 1, "a test", NAMES, one_piece=one_piece, filling=filling)


def test_volumes_are_in_millilitres_by_the_affine():
    assert notes(labels(edge=1.5), fewest=4) == []
    with pytest.raises(CaseError, match="structures at least have a size that they can have, got 0"):
        notes(labels(edge=2.0), fewest=1)


def test_too_few_are_refused():
    given = labels(one=(9, 9), two=(9, 9))
    assert len(notes(given, fewest=2)) == 1
    with pytest.raises(CaseError, match=r"expected an image of a test, in which 3 of 4 .* got 2") as raised:
        notes(given, fewest=3)
    assert raised.value.code == "not-recognised"


def test_labels_without_affine():
    with pytest.raises(UsageError, match="expected labels with an affine"):
        notes(labels().as_tensor())


@pytest.mark.parametrize("volumes", [{"1": [2, 1]}, {"1": [-1, 1]}, {"1": 3}, {"1": ["a", 1]}, {}])
def test_volumes_that_cannot_be(volumes):
    with pytest.raises(UsageError, match="volumes_ml: expected a least and a largest volume by label value"):
        ExpectedStructuresd("pred", volumes, 1, "a test", NAMES)


@pytest.mark.parametrize("fewest", [0, 5])
def test_more_or_fewer_than_there_are(fewest):
    with pytest.raises(UsageError, match="fewest: expected from 1 to the 4 structures of volumes_ml, got"):
        ExpectedStructuresd("pred", VOLUMES, fewest, "a test", NAMES)
