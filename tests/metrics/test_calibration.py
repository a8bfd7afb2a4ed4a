"""Calibration error against its definition, and voxels near boundaries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medkit.metrics.calibration import expected_calibration_error, near_boundary


def by_definition(probabilities, labels, bins):
    """Guo et al. (2017), equation 3, bin by bin."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    total = 0.0
    for m in range(1, bins + 1):
        inside = (confidence > (m - 1) / bins) & (confidence <= m / bins)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(2, 5), st.sampled_from([1, 5, 15]))
def test_it_is_what_the_paper_defines(seed, count, classes, bins):
    draw = np.random.default_rng(seed)
    probabilities = draw.dirichlet(np.ones(classes), count)
    labels = draw.integers(0, classes, count)
    found = expected_calibration_error(probabilities, labels, bins)
    assert found == pytest.approx(by_definition(probabilities, labels, bins), abs=1e-9)


def test_labels_drawn_from_the_probabilities_are_calibrated_and_sharpened_ones_are_not():
    draw = np.random.default_rng(0)
    logits = draw.normal(0, 2, (200_000, 3))
    p = torch.from_numpy(logits).softmax(1).numpy()
    labels = (draw.random((len(p), 1)) > p.cumsum(1)).sum(1)
    assert expected_calibration_error(p, labels) < 0.005
    sharper = torch.from_numpy(3 * logits).softmax(1).numpy()
    assert expected_calibration_error(sharper, labels) > 0.1


def test_certain_and_wrong_is_the_worst():
    assert expected_calibration_error([[1.0, 0.0]], [1]) == 1.0
    assert expected_calibration_error([[1.0, 0.0]], [0]) == 0.0
    assert np.isnan(expected_calibration_error(np.zeros((0, 2)), []))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"expected probabilities \(N, C\) and labels \(N,\), got \(2, 2\)"):
        expected_calibration_error(np.eye(2), [0])
    with pytest.raises(ValueError, match="expected one bin or more, got 0"):
        expected_calibration_error(np.eye(2), [0, 1], bins=0)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1.1, -0.1])
def test_what_is_no_probability_is_refused(wrong):
    with pytest.raises(ValueError, match="expected probabilities of 0 to 1, got"):
        expected_calibration_error([[0.5, 0.5], [wrong, 0.5]], [0, 1])


@pytest.mark.parametrize("label", [-1, 2])
def test_labels_of_no_class_are_refused(label):
    with pytest.raises(ValueError, match="expected labels of 0 to 1, got"):
        expected_calibration_error([[0.5, 0.5], [0.5, 0.5]], [0, label])


@pytest.mark.filterwarnings("error")
def test_probabilities_may_be_off_by_rounding():
    assert expected_calibration_error(np.float32([[1.0000001, 0]]), [0]) == pytest.approx(0, abs=1e-6)


@given(
    hnp.arrays(np.uint8, (4, 5, 3), elements=st.integers(0, 2)), st.sampled_from([0.9, 1.0, 1.5, 2.1, 4.0])
)
def test_near_means_near_a_voxel_of_another_label(labels, within):
    where = np.argwhere(np.ones_like(labels))
    distance = np.linalg.norm(where[:, None] - where, axis=2)
    other = labels.ravel()[:, None] != labels.ravel()
    expected = (other & (distance <= within + 1e-9)).any(1).reshape(labels.shape)
    assert np.array_equal(near_boundary(labels, within + 1e-9), expected)
