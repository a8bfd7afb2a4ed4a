"""Boundaries by definition; softened probabilities that keep their labels, and change at boundaries alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import maximum_filter, minimum_filter

from medkit.transforms.calibration import SoftBoundaries, at_boundary


@given(
    st.one_of(
        hnp.arrays(np.int64, st.tuples(*[st.integers(1, 5)] * 3), elements=st.integers(0, 2)),
        hnp.arrays(np.int64, st.tuples(*[st.integers(1, 6)] * 2), elements=st.integers(0, 300)),
    )
)
def test_a_boundary_has_another_label_beside_it(labels):
    expected = maximum_filter(labels, 3, mode="nearest") != minimum_filter(labels, 3, mode="nearest")
    assert np.array_equal(at_boundary(torch.from_numpy(labels)).numpy(), expected)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_labels_stay_and_only_boundaries_change(temperature):
    logits = torch.randn(3, 9, 8, 7, generator=torch.Generator().manual_seed(0))
    logits[0, :4] += 50
    sharp, labels = logits.softmax(0), logits.argmax(0)
    found = sharp.clone()
    soft = SoftBoundaries(labels, temperature)
    for channel in found:
        soft.add(channel)
    assert torch.equal(found, sharp), "nothing changes before all are known"
    for channel in found:
        soft.soften_(channel)
    unsure = at_boundary(labels)
    assert 0 < unsure.sum() < unsure.numel()
    assert torch.equal(found.argmax(0), labels)
    assert torch.equal(found[:, ~unsure], sharp[:, ~unsure])
    torch.testing.assert_close(found[:, unsure], (logits[:, unsure] / temperature).softmax(0))
