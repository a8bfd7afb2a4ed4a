"""The plain form: the same as interpolating every class and asking for the greatest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from scipy.ndimage import map_coordinates

from medkit.ops.interpolated_argmax import reference
from tests.ops.interpolated_argmax.cases import exact_planes


@given(case=exact_planes())
def test_labels_are_those_of_another_interpolation(case):
    one, two, weight, rows, columns = case
    places = [
        np.array([weight]),
        *((axis.low + axis.weight * (axis.high - axis.low)).double().numpy() for axis in (rows, columns)),
    ]
    grid = np.stack(np.meshgrid(*places, indexing="ij"))
    volume = torch.stack([one.scores, two.scores], 1).double().numpy()
    blended = np.stack([map_coordinates(part, grid, order=1, mode="nearest")[0] for part in volume])
    found = reference.interpolated_argmax(one.scores, two.scores, weight, rows, columns)
    np.testing.assert_array_equal(found.numpy(), blended.argmax(0))


@pytest.mark.parametrize(("classes", "dtype"), [(1, torch.uint8), (256, torch.uint8), (257, torch.int16)])
def test_greatest_is_the_first_of_equals_in_the_smallest_type(classes, dtype):
    scores = torch.randint(0, 3, (classes, 50), generator=torch.Generator().manual_seed(0)).float()
    found = reference.greatest(scores)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.numpy(), scores.numpy().argmax(0))
