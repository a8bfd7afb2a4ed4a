"""Pieces hang together by faces, or by corners as well, and their sizes are those of the mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medkit.data.pieces import connected_pieces


@pytest.mark.parametrize(("corners", "sizes"), [(False, [0, 8, 1, 2]), (True, [0, 9, 2])])
def test_what_touches_by_a_corner(corners, sizes):
    mask = np.zeros((6, 6, 6), bool)
    mask[:2, :2, :2] = mask[2, 2, 2] = mask[5, 5, 4:] = True
    assert connected_pieces(mask, corners=corners)[1].tolist() == sizes


@given(mask=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=3, max_side=6)), corners=st.booleans())
def test_every_voxel_is_of_one_piece(mask, corners):
    numbers, sizes = connected_pieces(mask, corners=corners)
    assert np.array_equal(numbers > 0, mask)
    assert sizes.sum() == mask.sum()
    assert all((numbers == number).sum() == size for number, size in enumerate(sizes) if number)
