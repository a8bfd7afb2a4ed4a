"""The U-Net on blocks: which channels are which voxels of a block, and how large a block may be."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medkit.networks.subvoxel_unet import SubvoxelUNet


@pytest.mark.parametrize(
    ("dims", "block", "sizes"), [(2, 2, (8, 12)), (3, 2, (8, 4, 12)), (3, 3, (6, 12, 6))]
)
def test_a_voxel_keeps_its_place(dims, block, sizes):
    """With nothing between the blocks and back, the logits are the image."""
    network = SubvoxelUNet(dims, 3, 3, (4, 8), (2,), block)
    network.network = nn.Identity()
    image = torch.randn(2, 3, *sizes)
    torch.testing.assert_close(network(image), image, rtol=0, atol=0)


def test_convolutions_see_blocks():
    seen = []
    network = SubvoxelUNet(3, 1, 5, (4, 8), (2,))
    network.network.stages[0].register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))
    assert network(torch.randn(1, 1, 16, 13, 8)).shape == (1, 5, 16, 13, 8)
    assert seen == [(1, 8, 8, 8, 4)]


def test_a_block_of_nothing():
    with pytest.raises(ValueError, match="expected a block of 1 voxel or more along each axis, got 0"):
        SubvoxelUNet(3, 1, 2, block=0)
