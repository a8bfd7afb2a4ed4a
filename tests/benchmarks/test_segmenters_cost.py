"""Operations: those of convolutions as PyTorch counts them, and those of scans by arithmetic."""

from __future__ import annotations

import torch
from segmenters_cost import OPERATIONS_OF_A_CHANNEL, OPERATIONS_OF_A_STATE, operations
from torch import nn

from medkit.networks.daunet import PositionAttention
from medkit.networks.mamba_layer import MambaLayer


def test_a_convolution():
    found = operations(nn.Conv3d(2, 3, 3, padding=1, bias=False), torch.zeros(1, 2, 4, 5, 6))
    assert found == {"operations": 2 * 3 * 2 * 27 * 4 * 5 * 6, "operations_of_scans": 0}


def test_scans_of_both_directions_on_top_of_the_rest():
    layer, image = MambaLayer(3, 4, states=8), torch.zeros(1, 4, 2, 3, 5)
    inner, voxels, rank = 8, 30, 1
    scans = 2 * inner * voxels * (8 * OPERATIONS_OF_A_STATE + OPERATIONS_OF_A_CHANNEL)
    weights = 4 * 2 * inner + 27 * inner + inner * (rank + 16) + rank * inner + inner * 4
    assert operations(layer, image) == {
        "operations": 2 * weights * voxels + scans,
        "operations_of_scans": scans,
    }


def test_attention():
    found = operations(PositionAttention(2, 16), torch.zeros(1, 16, 4, 4))["operations"]
    projections, pairs = 2 * 16 * (4 + 16) * 16, 16 * 16
    assert found == projections + 8 * 2 * pairs * (2 + 2)
