"""AGUNet: what its gates, its input at every scale and its deep supervision do, and that each can be switched off."""

from __future__ import annotations

import itertools

import pytest
import torch
from monai.losses import DeepSupervisionLoss, DiceCELoss
from torch.nn import functional

from medkit.networks.agunet import AGUNet, AttentionGate, Down, Up

SIZES = (9, 8, 5)


def network(**options) -> AGUNet:
    torch.manual_seed(0)
    return AGUNet(3, 2, 3, filters=(4, 6, 8, 8), strides=(2, 2, (2, 2, 1)), **options)


def image() -> torch.Tensor:
    return torch.randn(2, 2, *SIZES, generator=torch.Generator().manual_seed(1))


def kinds(made: AGUNet, kind: type) -> int:
    return sum(isinstance(module, kind) for module in made.modules())


def test_a_gate_is_that_of_the_published_code():
    """Written down once more: both inputs side by side through one convolution, where others add them."""
    torch.manual_seed(0)
    gate = AttentionGate(2, 6)
    decoder, skip = torch.randn(2, 2, 6, 5, 4)
    parts = [
        functional.instance_norm(functional.conv2d(x, path.conv.weight)).relu()
        for path, x in ((gate.from_decoder, decoder), (gate.from_skip, skip))
    ]
    weight = functional.conv2d(torch.cat(parts, 1), gate.weight.conv.weight, gate.weight.conv.bias).sigmoid()
    torch.testing.assert_close(gate(decoder, skip), skip * weight)


def test_a_shut_gate_hides_the_skip():
    torch.manual_seed(0)
    up = Up(3, 8, 4, (2, 2, 2), gated=True)
    below, skips = torch.randn(1, 8, 2, 2, 2), torch.randn(2, 1, 4, 4, 4, 4)
    assert not torch.equal(up(below, skips[0]), up(below, skips[1]))
    torch.nn.init.constant_(up.gate.weight.conv.bias, -1000)
    assert torch.equal(up(below, skips[0]), up(below, skips[1]))


def test_the_stages_between_see_the_averaged_image():
    made, seen = network(), []
    for down in made.downs:
        if down.look is not None:
            down.look.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    x = torch.randn(1, 2, 16, 8, 4)
    made(x)
    assert [down.look is not None for down in made.downs] == [True, True, False]
    assert len(seen) == 2
    torch.testing.assert_close(seen[0], functional.avg_pool3d(x, 2))
    torch.testing.assert_close(seen[1], functional.avg_pool3d(x, 4))


@pytest.mark.parametrize(("multi_scale", "expected"), [(True, 2), (False, 0)])
def test_the_image_is_averaged_only_for_those_who_see_it(multi_scale, expected):
    made, averaged = network(multi_scale=multi_scale), []
    for average in made.averages:
        average.register_forward_hook(lambda module, given, output: averaged.append(output))
    made(image())
    assert len(averaged) == expected


def test_what_a_stage_sees_of_the_image_reaches_its_output():
    torch.manual_seed(0)
    seeing, blind = Down(2, 4, 6, (2, 2), seen=1), Down(2, 4, 6, (2, 2), seen=0)
    above, images = torch.randn(1, 4, 8, 8), torch.randn(2, 1, 1, 4, 4)
    assert not torch.equal(seeing(above, images[0]), seeing(above, images[1]))
    assert torch.equal(blind(above, images[0]), blind(above, images[1]))


def test_what_is_switched_off_is_not_there():
    full, bare = network(deep_supervision=True), network(multi_scale=False, attention_gates=False)
    assert kinds(full, AttentionGate) == 3
    assert kinds(bare, AttentionGate) == 0
    assert all(down.look is None for down in bare.downs)
    assert (len(full.coarse_heads), len(bare.coarse_heads)) == (2, 0)
    assert set(bare.state_dict()) < set(full.state_dict())


@pytest.mark.parametrize("switches", itertools.product([False, True], repeat=3))
def test_every_combination_of_switches_learns_everywhere(switches):
    options = dict(zip(("multi_scale", "attention_gates", "deep_supervision"), switches, strict=True))
    made = network(**options)
    output = made(image())
    (output * torch.randn_like(output)).sum().backward()
    assert [name for name, p in made.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_deep_supervision_gives_logits_of_every_level_in_training():
    made = network(deep_supervision=True)
    levels = made(image())
    plain = network()
    plain.load_state_dict(made.state_dict(), strict=False)
    assert levels.shape == (2, 3, 3, *SIZES)
    torch.testing.assert_close(levels[:, 0], plain(image()))
    for number, step in ((1, 2), (2, 4)):  # as coarse as the level that they come from, and no coarser
        blocks = levels[:, number, :, :8, :8, :4]
        corner = blocks[..., ::step, ::step, ::step]
        assert torch.equal(functional.interpolate(corner, (8, 8, 4)), blocks)
        assert not torch.equal(corner[..., :1, :, :], corner[..., 1:2, :, :])


def test_deep_supervision_is_for_training_alone():
    made, plain = network(deep_supervision=True).eval(), network().eval()
    plain.load_state_dict(made.state_dict(), strict=False)
    assert torch.equal(made(image()), plain(image()))
    with torch.no_grad():
        program = torch.export.export(made, (image(),)).module()
        assert torch.equal(program(image()), made(image()))


def test_one_level_is_stacked_too():
    made = AGUNet(2, 1, 2, filters=(4, 4), strides=(2,), deep_supervision=True)
    assert made(torch.randn(1, 1, 6, 6)).shape == (1, 1, 2, 6, 6)


def test_monais_loss_takes_the_levels():
    made = network(deep_supervision=True)
    loss = DeepSupervisionLoss(DiceCELoss(softmax=True, to_onehot_y=True))
    value = loss(list(made(image()).float().unbind(1)), torch.randint(3, (2, 1, *SIZES)))
    value.backward()
    assert torch.isfinite(value)
    assert all(parameter.grad.any() for parameter in made.coarse_heads.parameters())


def test_filters_and_strides_that_do_not_fit():
    with pytest.raises(ValueError, match="a stride between every two stages, got 3 stages and 3 strides"):
        AGUNet(3, 1, 2, filters=(4, 6, 8), strides=(1, 2, 2))
