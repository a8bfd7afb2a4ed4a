"""What MONAI makes of the same scores, and how far behind its greatest class another label is."""

from __future__ import annotations

from copy import deepcopy

import torch
from monai.transforms import Activationsd, Invertd

TIE = 1e-5  # of a probability


def monai_probabilities(item, transform, *, softmax=True):
    """``(K, I, J, K)`` on the image's own grid."""
    item = deepcopy(item)
    item = Activationsd("pred", softmax=True)(item) if softmax else item
    return Invertd("pred", transform, "image", nearest_interp=False)(item)["pred"]


def assert_same_but_for_ties(labels, scores, tie=TIE):
    """No label is of a class that is behind the greatest by more than rounding."""
    labels, scores = torch.as_tensor(labels).long(), torch.as_tensor(scores)
    assert labels.shape == scores.shape[1:]
    behind = scores.max(0).values - scores.gather(0, labels[None])[0]
    assert behind.max() <= tie, (
        f"{int((behind > tie).sum())} of {labels.numel()} labels, by {behind.max():.2g}"
    )
    assert (labels != scores.argmax(0)).float().mean() < 0.01, "ties are rare"
