"""Smooth fields: a tensor-product spline of coefficients that a seed tells."""

from __future__ import annotations

import torch

from medkit.transforms.synthesis.separable import spline_matrix
from medkit.transforms.synthesis.smooth_field import normal_coefficients, spread_out


def test_coefficients_are_normal_and_the_seed_tells_them():
    one = normal_coefficients(5, (10, 11, 12), 3)
    assert one.shape == (10, 11, 12, 3)
    assert torch.equal(one, normal_coefficients(5, (10, 11, 12), 3))
    assert not torch.equal(one, normal_coefficients(6, (10, 11, 12), 3))
    assert abs(one.mean()) < 0.06
    assert abs(one.std() - 1) < 0.05


def test_the_field_is_the_sum_over_all_coefficients():
    coefficients = normal_coefficients(0, (4, 5, 6), 2)
    found = spread_out(coefficients, (7, 9, 8), torch.device("cpu"))
    d, h, w = spline_matrix(4, 7), spline_matrix(5, 9), spline_matrix(6, 8)
    expected = torch.einsum("xi,yj,zk,ijkc->xyzc", d, h, w, coefficients)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), expected, atol=1e-5)
