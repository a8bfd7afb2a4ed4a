"""Matrices along axes against SciPy's filters and splines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import BSpline
from scipy.ndimage import gaussian_filter1d

from medkit.transforms.synthesis.separable import along, gaussian_matrix, spline_matrix


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_along_is_a_product_along_one_axis(axis):
    volume, matrix = torch.randn(5, 6, 7), torch.randn(3, 5 + axis)
    expected = torch.tensordot(volume, matrix, dims=([axis], [1])).movedim(-1, axis)
    assert torch.allclose(along(volume, matrix, axis), expected, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.4, 0.8, 2.0])
def test_gaussian_is_scipys_away_from_the_ends(sigma):
    signal = np.random.default_rng(0).normal(size=60)
    found = gaussian_matrix(60, sigma).numpy() @ signal
    expected = gaussian_filter1d(signal, sigma, truncate=4)
    assert np.allclose(found[10:-10], expected[10:-10], atol=1e-3)


@given(st.integers(1, 40), st.floats(0, 5))
def test_gaussian_rows_sum_to_one(size, sigma):
    matrix = gaussian_matrix(size, sigma)
    assert torch.allclose(matrix.sum(1), torch.ones(size, dtype=torch.float64))
    assert sigma > 0.1 or torch.equal(matrix, torch.eye(size, dtype=torch.float64))


@given(st.integers(4, 12), st.integers(2, 50))
def test_spline_is_scipys(points, size):
    coefficients = np.random.default_rng(points).normal(size=points)
    spline = BSpline(np.arange(-3.0, points + 1), coefficients, 3)
    expected = spline(np.linspace(0, points - 3, size))
    assert np.allclose(spline_matrix(points, size).numpy() @ coefficients, expected, atol=1e-9)


@given(st.integers(4, 12), st.integers(2, 50))
def test_spline_gives_lines_for_lines(points, size):
    matrix = spline_matrix(points, size)
    places = (torch.arange(points, dtype=torch.float64) - 1) * (size - 1) / (points - 3)
    assert torch.allclose(matrix.sum(1), torch.ones(size, dtype=torch.float64))
    assert torch.allclose(matrix @ places, torch.arange(size, dtype=torch.float64), atol=1e-9)
