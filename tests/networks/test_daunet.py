"""DAUNet: its two kinds of attention are those of the paper, in bounded memory, and can be switched off."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from medkit.networks.agunet import AGUNet, AttentionGate
from medkit.networks.daunet import AttentionSum, ChannelAttention, DAUNet, PositionAttention

SMALL = {"filters": (4, 8, 16), "strides": (2, 2)}


def features(*sizes: int) -> torch.Tensor:
    return torch.randn(2, 16, *sizes, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def position() -> PositionAttention:
    torch.manual_seed(0)
    return PositionAttention(3, 16).double()


def test_position_attention_is_that_of_the_paper():
    """Equations 1 and 2, with the matrix of all pairs of voxels."""
    made, x = position(), features(3, 4, 2)
    query, key, value = made.project(x).flatten(2).split([2, 2, 16], 1)
    matrix = torch.softmax(query.mT @ key, -1)
    expected = x + made.share * (value @ matrix.mT).view_as(x)
    torch.testing.assert_close(made(x), expected)


def test_position_attention_holds_no_matrix_of_voxels():
    """PyTorch refuses where only its kernel with the whole matrix would do."""
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]):
        found = position()(features(3, 4, 2))
    torch.testing.assert_close(found, position()(features(3, 4, 2)))


def test_every_voxel_receives_from_every_other():
    made, x = position(), features(3, 4, 2)
    for voxel in range(24):
        changed = x.clone()
        changed.flatten(2)[..., voxel] *= -2
        assert (made(x) != made(changed)).any(1).all()


def test_channel_attention_is_that_of_the_paper_by_the_mean():
    """Equations 3 and 4, with the mean over voxels for the sum."""
    made, x = ChannelAttention(), features(3, 4, 2)
    channels = x.flatten(2)
    matrix = torch.softmax(torch.einsum("bin,bjn->bij", channels, channels) / 24, -1)
    expected = x + made.share * torch.einsum("bij,bjn->bin", matrix, channels).view_as(x)
    torch.testing.assert_close(made(x), expected)


def test_channel_attention_does_not_depend_on_the_size_of_the_image():
    made, x = ChannelAttention(), features(3, 4, 2)
    torch.testing.assert_close(made(x.repeat(1, 1, 2, 2, 2)), made(x).repeat(1, 1, 2, 2, 2))


def test_attention_stands_at_the_bottleneck_only():
    made, seen = DAUNet(3, 1, 2, **SMALL), []
    made.context.register_forward_pre_hook(lambda module, given: seen.append(tuple(given[0].shape)))
    made(torch.randn(1, 1, 8, 12, 16))
    assert seen == [(1, 16, 2, 3, 4)]
    found = [name for name, module in made.named_modules() if isinstance(module, AttentionSum)]
    assert found == ["context"]


@pytest.mark.parametrize(("positions", "channels"), itertools.product([False, True], repeat=2))
def test_each_attention_can_be_switched_off(positions, channels):
    made = DAUNet(2, 1, 2, **SMALL, position_attention=positions, channel_attention=channels)
    kinds = [type(module) for module in made.modules()]
    assert kinds.count(PositionAttention) == positions
    assert kinds.count(ChannelAttention) == channels
    made(torch.randn(2, 1, 8, 8)).square().mean().backward()
    assert [name for name, p in made.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_with_no_attention_it_is_agunet_without_gates():
    torch.manual_seed(0)
    bare = DAUNet(2, 1, 2, **SMALL, position_attention=False, channel_attention=False)
    torch.manual_seed(0)
    ungated = AGUNet(2, 1, 2, **SMALL, attention_gates=False)
    assert bare.state_dict().keys() == ungated.state_dict().keys()
    x = torch.randn(1, 1, 8, 8)
    assert torch.equal(bare(x), ungated(x))


def test_gates_and_deep_supervision_are_there_when_asked_for():
    made = DAUNet(2, 1, 3, **SMALL, attention_gates=True, deep_supervision=True)
    assert sum(isinstance(module, AttentionGate) for module in made.modules()) == 2
    assert made(torch.randn(1, 1, 7, 9)).shape == (1, 2, 3, 7, 9)
    assert not any(isinstance(module, AttentionGate) for module in DAUNet(2, 1, 3, **SMALL).modules())


def test_channels_that_cannot_be_cut():
    with pytest.raises(
        ValueError, match="a multiple of 8 channels for position attention, got 12: change the last"
    ):
        DAUNet(3, 1, 2, filters=(4, 12), strides=(2,))
