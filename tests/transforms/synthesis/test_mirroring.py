"""Left and right: reversed and renamed together, and as often as it says."""

from __future__ import annotations

import pytest
import torch

from medkit.errors import UsageError
from medkit.transforms.synthesis.brain_labels import brain_scheme
from medkit.transforms.synthesis.mirroring import Mirroring, MirroringParameters
from medkit.transforms.synthesis.sample import Sample
from tests.head_phantom import head
from tests.transforms.synthesis.drawn import assert_proportion, assert_recorded, many

STEP = Mirroring(brain_scheme())
MIRRORED = MirroringParameters(True)


def whole():
    labels = head()[0, 0]
    return Sample(labels, *(torch.rand(labels.shape) for _ in range(3)))


def test_names_swap_and_stay_on_their_side():
    sample = whole()
    found = STEP.apply(sample, MIRRORED)
    for left, right in ((2, 41), (3, 42), (4, 43), (10, 49), (17, 53)):
        assert torch.equal(found.labels == left, (sample.labels == right).flip(0))
        assert torch.equal(found.labels == right, (sample.labels == left).flip(0))
    for midline in (0, 16, 24, 507, 511, 515):
        assert torch.equal(found.labels == midline, (sample.labels == midline).flip(0))
    middle = len(found.labels) // 2
    assert not (found.labels[middle:] == 2).any()
    assert (found.labels == 17).sum() > (found.labels == 53).sum(), (
        "the small hippocampus is now the right one"
    )


def test_all_volumes_are_reversed():
    sample = whole()
    found = STEP.apply(sample, MIRRORED)
    for name in ("image", "real", "lesions"):
        assert torch.equal(getattr(found, name), getattr(sample, name).flip(0))


def test_twice_is_as_it_was():
    sample = whole()
    found = STEP.apply(STEP.apply(sample, MIRRORED), MIRRORED)
    for name in ("labels", "image", "real", "lesions"):
        assert torch.equal(getattr(found, name), getattr(sample, name))


def test_not_mirrored_is_as_it_was():
    sample = whole()
    assert STEP.apply(sample, MirroringParameters(False)) is sample


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.5, 1.0])
def test_as_often_as_it_says(probability):
    drawn = many(Mirroring(brain_scheme(), probability), 4000)
    assert_proportion((one.mirrored for one in drawn), probability)
    assert_recorded(STEP, drawn[0])


def test_a_probability_that_is_none_is_refused():
    with pytest.raises(UsageError, match="probability: expected a probability from 0 to 1, got 50"):
        Mirroring(brain_scheme(), 50)
