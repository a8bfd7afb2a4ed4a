"""Blocks of voxels: nothing is lost on the way there and back, whatever the size."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from medkit.networks.blocks import from_blocks, to_blocks


@given(st.lists(st.integers(1, 7), min_size=2, max_size=3), st.integers(1, 3))
def test_there_and_back(sizes, block):
    image = torch.randn(2, 3, *sizes)
    blocks = to_blocks(image, block)
    assert blocks.shape == (2, 3 * block ** len(sizes), *(-(-size // block) for size in sizes))
    assert torch.equal(from_blocks(blocks, block, sizes), image)


def test_which_voxels_a_block_has_and_what_lies_beyond_the_edge():
    image = torch.arange(6.0).view(1, 1, 2, 3)
    blocks = to_blocks(image, 2)
    assert blocks[0, :, 0, 0].tolist() == [0, 1, 3, 4]
    assert blocks[0, :, 0, 1].tolist() == [2, 2, 5, 5]
