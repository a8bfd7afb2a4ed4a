"""One smooth, one-to-one map for labels, scan and lesions; by hand where it is affine."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medkit.errors import UsageError
from medkit.transforms.synthesis.brain_labels import brain_scheme
from medkit.transforms.synthesis.deformation import Deformation, DeformationParameters, source_places
from medkit.transforms.synthesis.sample import Sample
from tests.head_phantom import head
from tests.transforms.synthesis.drawn import assert_even, assert_recorded, many

STILL = DeformationParameters((0.0,) * 3, (1.0,) * 3, (0.0,) * 3, (0.0,) * 3, 0.0, 6, 0)
CPU = torch.device("cpu")


def places(size=(20, 24, 22), **changed):
    centre = tuple((length - 1) / 2 for length in size)
    return source_places(dataclasses.replace(STILL, **changed), size, centre, CPU)


@pytest.mark.parametrize("labels", ["nearest", "vote"])
def test_parameters_of_no_change_change_nothing(labels):
    sample = Sample(head()[0, 0], real=torch.rand(head().shape[2:]), lesions=torch.rand(head().shape[2:]))
    found = Deformation(labels=labels).apply(sample, STILL)
    assert torch.equal(found.labels, sample.labels)
    assert torch.allclose(found.real, sample.real, atol=1e-4)
    assert torch.allclose(found.lesions, sample.lesions, atol=1e-4)


def test_translation_moves_the_head():
    sample = Sample(head()[0, 0])
    found = Deformation().apply(sample, dataclasses.replace(STILL, translation=(3.0, 0.0, -2.0))).labels
    assert torch.equal(found[3:, :, :-2], sample.labels[:-3, :, 2:])
    assert (found[:3] == 0).all()


def test_a_quarter_turn_about_the_upward_axis_takes_right_to_front():
    labels = torch.zeros(9, 9, 9, dtype=torch.int32)
    labels[7, 4, 4] = 16
    found = Deformation().apply(Sample(labels), dataclasses.replace(STILL, rotation=(0.0, 0.0, 90.0))).labels
    assert found.nonzero().tolist() == [[4, 7, 4]]


@pytest.mark.parametrize(("axis", "start", "end"), [(0, (4, 7, 4), (4, 4, 7)), (1, (4, 4, 7), (7, 4, 4))])
def test_quarter_turns_about_the_other_axes(axis, start, end):
    labels = torch.zeros(9, 9, 9, dtype=torch.int32)
    labels[start] = 16
    turn = tuple(90.0 * (axis == other) for other in range(3))
    found = Deformation().apply(Sample(labels), dataclasses.replace(STILL, rotation=turn)).labels
    assert found.nonzero().tolist() == [list(end)]


def test_scaling_makes_the_head_larger():
    sample = Sample(head()[0, 0])
    found = (
        Deformation((60, 72, 66)).apply(sample, dataclasses.replace(STILL, scaling=(1.2, 1.1, 1.0))).labels
    )
    for value in (16, 507):
        ratio = (found >= value).sum() / (sample.labels >= value).sum()
        assert ratio == pytest.approx(1.2 * 1.1, rel=0.02)


def test_shearing():
    found = places(shearing=(0.1, 0.0, 0.0))
    row = places()
    assert torch.allclose(found[..., 0], row[..., 0] - 0.1 * (row[..., 1] - 11.5), atol=1e-4)
    assert torch.allclose(found[..., 1:], row[..., 1:], atol=1e-4)


def test_the_box_lies_about_the_middle_or_about_the_brain():
    labels = torch.zeros(60, 60, 60, dtype=torch.int32)
    small = head((20, 24, 22))[0, 0]
    labels[4:24, 30:54, 36:58] = small
    whole = Deformation((60, 60, 60)).apply(Sample(labels), STILL).labels
    assert torch.equal(whole, labels)
    centred = Deformation((24, 28, 26), centred_by=brain_scheme()).apply(Sample(labels), STILL).labels
    brain = brain_scheme().mask(centred, ["brain"]).nonzero().float()
    middle = (brain.amin(0) + brain.amax(0)) / 2
    assert (middle - torch.tensor([11.5, 13.5, 12.5])).abs().max() <= 1.5
    assert (centred == 41).sum() == (small == 41).sum()


def test_without_a_brain_the_box_lies_about_the_middle():
    labels = torch.full((10, 10, 10), 507, dtype=torch.int32)
    found = Deformation((4, 4, 4), centred_by=brain_scheme()).apply(Sample(labels), STILL).labels
    assert (found == 507).all()


@settings(max_examples=15)
@given(st.integers(0, 2**40), st.integers(4, 10), st.floats(0, 100))
def test_the_map_never_folds(seed, points, displacement):
    found = places((20, 24, 22), seed=seed, points=points, displacement=displacement).double()
    steps = [found.diff(dim=axis)[:19, :21, :19] for axis in range(3)]
    volume = torch.linalg.det(torch.stack(steps, -1))
    assert volume.min() > 0


def test_displacement_is_as_large_as_told():
    still = places((40, 40, 40))
    moved = places((40, 40, 40), displacement=1.0, points=6, seed=3)
    spread = (moved - still).std()
    assert 0.2 < spread < 1.0, "the spline averages its coefficients"
    assert torch.allclose(still, places((40, 40, 40), displacement=0.0, seed=9))


def test_ranges_are_filled_evenly():
    step = Deformation(rotation=(-10, 20), displacement=(1, 3), points=(5, 7))
    drawn = many(step)
    for axis in range(3):
        assert_even((one.rotation[axis] for one in drawn), -10, 20)
        assert_even((one.scaling[axis] for one in drawn), 0.85, 1.15)
        assert_even((one.shearing[axis] for one in drawn), -0.02, 0.02)
        assert_even((one.translation[axis] for one in drawn), -10, 10)
    assert_even((one.displacement for one in drawn), 1, 3)
    assert {one.points for one in drawn} == {5, 6, 7}
    assert len({one.seed for one in drawn}) == len(drawn)
    assert_recorded(step, drawn[0])


def test_each_axis_may_have_a_translation_of_its_own():
    drawn = many(Deformation(translation=[(-10, 20), (0, 0), (5, 6)]))
    assert_even((one.translation[0] for one in drawn), -10, 20)
    assert {one.translation[1] for one in drawn} == {0}
    assert_even((one.translation[2] for one in drawn), 5, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"translation": [(-1, 1), (1, -1), (0, 0)]}, "translation: expected two numbers in order"),
        ({"translation": (-1, 0, 1)}, "translation: expected two numbers in order"),
        (
            {"translation": [(-1, 1), (0, 1)]},
            "translation: expected one range, or one for each of three axes",
        ),
        ({"size": (4, 4)}, "size: expected three whole numbers of at least 2"),
        ({"size": 32}, "size: expected three whole numbers of at least 2, got 32; correct it"),
        ({"size": (4, 4, 1)}, "size: expected three whole numbers of at least 2"),
        ({"points": (3, 5)}, "points: expected two numbers in order of at least 4"),
        ({"scaling": (0, 1)}, "scaling: expected two numbers in order between 0.1 and 10"),
        ({"displacement": (-1, 1)}, "displacement: expected"),
        ({"labels": "linear"}, r"labels: expected one of \['nearest', 'vote'\], got 'linear'"),
    ],
)
def test_arguments_that_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        Deformation(**arguments)


def test_an_image_is_not_interpolated_again():
    sample = Sample(head()[0, 0], image=torch.zeros(head().shape[2:]))
    with pytest.raises(
        UsageError, match="expected labels alone, got an image too; put it before Intensities"
    ):
        Deformation().apply(sample, STILL)
