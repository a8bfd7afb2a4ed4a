"""The loss of a part of the voxels: every voxel has its turn, and a training that goes on keeps to it."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceCELoss

from medkit.errors import UsageError
from medkit.losses.sublattice import SublatticeLoss


def mean(logits, labels):
    return logits.mean()


@pytest.mark.parametrize(("sizes", "step"), [((6, 4), 2), ((4, 6, 8), 2), ((6, 3, 6), 3), ((3, 4, 5), 1)])
def test_all_voxels_have_their_turn_once(sizes, step):
    logits = torch.randn(2, 3, *sizes, requires_grad=True)
    turns = step ** len(sizes)
    loss = SublatticeLoss(mean, step)
    total = sum(loss(logits, torch.zeros(2, 1, *sizes)) for _ in range(turns)) / turns
    torch.testing.assert_close(total, logits.mean())
    (gradient,) = torch.autograd.grad(total, logits)
    torch.testing.assert_close(gradient, torch.full_like(gradient, 1 / gradient.numel()))


def test_logits_and_labels_are_of_the_same_voxels():
    labels = torch.randint(4, (1, 1, 8, 9, 7))
    perfect = 50 * torch.nn.functional.one_hot(labels[:, 0], 4).movedim(-1, 1).float()
    loss = SublatticeLoss(DiceCELoss(softmax=True, to_onehot_y=True))
    assert all(loss(perfect, labels) < 1e-4 for _ in range(8))
    assert all(loss(perfect.flip(2), labels) > 1 for _ in range(8))


def test_the_turn_is_kept_with_the_weights():
    logits = torch.arange(16.0).view(1, 1, 4, 4)
    loss, other = SublatticeLoss(mean), SublatticeLoss(mean)
    first = [float(loss(logits, logits)) for _ in range(3)]
    other.load_state_dict(loss.state_dict())
    assert float(other(logits, logits)) == float(loss(logits, logits))
    assert float(other(logits, logits)) == first[0]


@pytest.mark.parametrize("sizes", [(3, 4, 4, 4), (4, 1, 4)])
def test_stacks_of_levels_and_too_few_voxels(sizes):
    loss = SublatticeLoss(mean)
    with pytest.raises(ValueError, match=r"expected logits .* each size 2 or more"):
        loss(torch.zeros(1, 2, *sizes), torch.zeros(1, 1, *sizes[-3:]))


def test_no_step():
    with pytest.raises(UsageError, match="step: expected 1 or more, got 0"):
        SublatticeLoss(mean, 0)
