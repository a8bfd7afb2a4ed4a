"""A loss of sets of classes: MONAI's where each is one class, and indifferent to what a set leaves open."""

from __future__ import annotations

import math

import pytest
import torch
from monai.losses import DiceCELoss

from medkit.errors import UsageError
from medkit.losses.label_sets import LabelSetLoss

ALONE = [(0,), (1,), (2,), (3,)]
SETS = [*ALONE, (0, 3), (1, 2)]


def draws(sets: int = len(SETS), dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 4, 5, 3, 4, generator=source, dtype=dtype)
    return logits.requires_grad_(), torch.randint(0, sets, (2, 1, 5, 3, 4), generator=source)


def by_hand(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The definition, a voxel and a set at a time."""
    probabilities = logits.softmax(1).movedim(1, -1).reshape(-1, 4)
    found = [SETS[number] for number in labels.flatten().tolist()]
    entropy = [-math.log(p[list(members)].sum()) for p, members in zip(probabilities, found, strict=True)]
    dice = []
    for wanted in (members for members in SETS if 0 not in members):
        overlap = size = shown = 0.0
        for p, members in zip(probabilities, found, strict=True):
            mass = float(p[list(wanted)].sum())
            inside, outside = set(members) <= set(wanted), not set(members) & set(wanted)
            shown += inside
            overlap += mass * inside
            size += mass * (inside or outside) + inside
        if shown:
            dice.append(1 - (2 * overlap + 1e-5) / (size + 1e-5))
    return sum(entropy) / len(entropy) + sum(dice) / max(len(dice), 1)


@pytest.mark.parametrize("absent", [(), (1,), (1, 5), (1, 2, 3, 5)])
def test_the_definition(absent):
    logits, labels = draws()
    for number in absent:
        labels[labels == number] = 0
    assert LabelSetLoss(SETS)(logits, labels).item() == pytest.approx(
        by_hand(logits.detach(), labels), rel=1e-6
    )


def test_classes_alone_have_the_loss_of_monai():
    logits, labels = draws(4)
    theirs = DiceCELoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)
    expected = theirs(logits, labels)
    (gradient,) = torch.autograd.grad(expected, logits)
    found = LabelSetLoss(ALONE)(logits, labels)
    (own,) = torch.autograd.grad(found, logits)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(own, gradient)


def test_probability_may_move_within_a_set_that_all_voxels_have():
    """Fidon et al., section 2.1. Dice of its classes alone has no voxel then, and says nothing."""
    labels = torch.full((1, 1, 3, 3, 3), SETS.index((1, 2)))
    logits = torch.zeros(1, 4, 3, 3, 3, dtype=torch.float64)
    moved = logits.clone()
    # 2/4 of the probability, given out otherwise
    moved[:, 1], moved[:, 2] = math.log(1.9), math.log(0.1)
    loss = LabelSetLoss(SETS)
    torch.testing.assert_close(loss(moved, labels), loss(logits, labels))
    moved[:, 3] = 1.0
    assert loss(moved, labels) > loss(logits, labels)


def test_a_class_that_no_voxel_has_is_left_to_cross_entropy():
    """MONAI's loss falls by a third where its probability falls from 1e-6 to 1e-9 of each voxel."""
    labels = torch.tensor([0, 1, 2, 3]).repeat(16).view(1, 1, 4, 4, 4)
    there = torch.nn.functional.one_hot(labels[:, 0], 4).movedim(-1, 1).double() * 40
    labels[labels == 3] = 0
    loss = LabelSetLoss(ALONE)
    theirs = DiceCELoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)
    found = []
    for probability in (1e-6, 1e-9):
        logits = there.clone()
        logits[:, 3] = 40 + math.log(probability)
        logits[:, 0] = torch.where(labels[:, 0] == 0, 40.0, logits[:, 0])
        found.append([one(logits, labels).item() for one in (loss, theirs)])
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    assert found[0][1] > found[1][1] + 0.2


def test_nothing_but_background_has_the_loss_of_its_cross_entropy():
    logits, labels = draws()
    labels = torch.zeros_like(labels)
    loss = LabelSetLoss(SETS)(logits, labels)
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, labels[:, 0]))
    loss.backward()
    assert logits.grad.isfinite().all()


def test_training_moves_only_between_sets():
    logits = torch.zeros(1, 4, 2, 2, 2, requires_grad=True)
    labels = torch.full((1, 1, 2, 2, 2), SETS.index((0, 3)))
    LabelSetLoss(SETS)(logits, labels).backward()
    by_class = logits.grad[0, :, 0, 0, 0]
    assert by_class[0] == pytest.approx(by_class[3].item(), abs=1e-6)
    assert by_class[0] < 0 < by_class[1]


def test_extreme_logits_have_a_finite_loss_and_gradient():
    logits = (
        torch.tensor([200.0, -200.0, 0.0, 5.0]).view(1, 4, 1, 1, 1).repeat(1, 1, 2, 2, 2).requires_grad_()
    )
    loss = LabelSetLoss(SETS)(logits, torch.full((1, 1, 2, 2, 2), SETS.index((1, 2))))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_two_axes_of_space():
    logits = torch.zeros(1, 4, 6, 5)
    assert LabelSetLoss(SETS)(logits, torch.zeros(1, 1, 6, 5)).isfinite()


@pytest.mark.parametrize("sets", [[(0,), (1, 2)], [(0,), (1,), ()], [(1,), (2,)], [(0,)], []])
def test_sets_without_each_class_alone_are_refused(sets):
    with pytest.raises(
        UsageError, match="sets: expected sets of classes, each class from 0 alone among them"
    ):
        LabelSetLoss(sets)


def test_logits_of_other_classes_are_refused():
    with pytest.raises(ValueError, match="expected logits of 4 classes, got 5"):
        LabelSetLoss(SETS)(torch.zeros(1, 5, 2, 2, 2), torch.zeros(1, 1, 2, 2, 2))
