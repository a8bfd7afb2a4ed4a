"""Lesions lie in their host tissue, have the sizes that were drawn, and leave the anatomy's labels."""

from __future__ import annotations

import math

import pytest
import torch

from medkit.errors import UsageError
from medkit.transforms.synthesis.brain_labels import brain_scheme
from medkit.transforms.synthesis.lesions import Lesions, LesionsParameters
from medkit.transforms.synthesis.sample import Sample
from tests.head_phantom import head
from tests.transforms.synthesis.drawn import assert_even, assert_proportion, assert_recorded, many, rng

STEP = Lesions(brain_scheme())
WHITE = Sample(torch.full((41, 43, 45), 2, dtype=torch.int32))


def one(rank=0.5, *balls):
    return LesionsParameters((rank,), (balls,))


def test_a_ball_has_its_volume_at_its_place():
    found = STEP.apply(WHITE, one(0.5, (3.0, -2.0, 1.0, 6.0))).lesions
    assert found.sum() == pytest.approx(4 / 3 * math.pi * 6**3, rel=0.02)
    middle = (found[..., None] * torch.nonzero(found >= 0).view(*found.shape, 3)).sum((0, 1, 2)) / found.sum()
    assert torch.allclose(middle, torch.tensor([20.0 + 3, 21 - 2, 22 + 1]), atol=0.1)
    assert found.min() == 0
    assert found.max() == 1


def test_a_blob_is_the_union_of_its_balls():
    balls = [(0.0, 0.0, 0.0, 4.0), (3.0, 1.0, 0.0, 3.0)]
    both = STEP.apply(WHITE, one(0.5, *balls)).lesions
    each = [STEP.apply(WHITE, one(0.5, ball)).lesions for ball in balls]
    assert torch.equal(both, torch.maximum(*each))


@pytest.mark.parametrize("rank", [0.0, 0.3, 0.999999, 1.0])
def test_lesions_stay_within_their_tissue(rank):
    sample = Sample(head()[0, 0])
    found = STEP.apply(sample, one(rank, (0.0, 0.0, 0.0, 5.0)))
    host = (sample.labels == 2) | (sample.labels == 41)
    assert found.lesions.max() == 1
    assert (found.lesions[~host] == 0).all()
    assert torch.equal(found.labels, sample.labels)


def test_every_lesion_drawn_is_painted():
    sample = Sample(head((80, 96, 88))[0, 0])
    step = Lesions(brain_scheme(), probability=1.0, number=(3, 3), radius=(2, 5))
    for parameters in many(step, 5):
        found = step.apply(sample, parameters).lesions
        for rank, blob in zip(parameters.ranks, parameters.blobs, strict=True):
            alone = step.apply(sample, LesionsParameters((rank,), (blob,))).lesions
            assert (found >= alone).all()


def test_without_host_there_is_no_lesion():
    sample = Sample(torch.full((9, 9, 9), 507, dtype=torch.int32))
    assert (STEP.apply(sample, one(0.5, (0.0, 0.0, 0.0, 5.0))).lesions == 0).all()


def test_none_drawn_is_none_marked():
    sample = Sample(head()[0, 0])
    assert STEP.apply(sample, LesionsParameters((), ())) is sample


def test_distributions():
    step = Lesions(brain_scheme(), probability=0.3, number=(1, 4), radius=(2, 8), balls=(1, 3))
    drawn = many(step, 3000)
    assert_proportion((bool(item.ranks) for item in drawn), 0.3)
    some = [item for item in drawn if item.ranks]
    for number in (1, 2, 3, 4):
        assert_proportion((len(item.ranks) == number for item in some), 0.25)
    assert_even((rank for item in some for rank in item.ranks), 0, 1)
    balls = [ball for item in some for blob in item.blobs for ball in blob]
    assert all(0.4 * 2 <= ball[3] <= 8 for ball in balls)
    assert {len(blob) for item in some for blob in item.blobs} == {1, 2, 3}
    assert_recorded(step, some[0])
    assert_recorded(step, next(item for item in drawn if not item.ranks))


def test_small_lesions_are_drawn_more_often():
    """As many below 4 mm as above, of 2 to 8; the largest of 30 balls is as large as a lesion has them, nearly."""
    step = Lesions(brain_scheme(), probability=1.0, number=(1, 1), radius=(2, 8), balls=(30, 30))
    largest = [max(ball[3] for ball in item.blobs[0]) / 0.98 for item in many(step, 1000)]
    assert_proportion((radius < 4 for radius in largest), 0.5)


def test_unknown_hosts_are_refused():
    with pytest.raises(UsageError, match=r"got \['bone'\]; correct their names"):
        Lesions(brain_scheme(), hosts=["bone"])


def test_the_same_parameters_give_the_same_lesions():
    step = Lesions(brain_scheme(), probability=1.0)
    sample, parameters = Sample(head()[0, 0]), step.draw(rng(4))
    assert torch.equal(step.apply(sample, parameters).lesions, step.apply(sample, parameters).lesions)
