"""The loss of stacked levels is MONAI's of a list of them, and that of one level is the loss itself."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DeepSupervisionLoss as ListedLevelsLoss
from monai.losses import DiceCELoss, DiceLoss

from medkit.losses.deep_supervision import DeepSupervisionLoss
from medkit.networks import create

SIZES = {2: (9, 7), 3: (6, 5, 4)}
BASES = {
    "DiceCE": lambda: DiceCELoss(softmax=True, to_onehot_y=True, include_background=False, batch=True),
    "Dice": lambda: DiceLoss(softmax=True, to_onehot_y=True),
}
# MONAI's networks with deep supervision, three levels each.
MONAIS = {
    "dynunet": {
        "kernel_size": (3, 3, 3, 3), "strides": (1, 2, 2, 2), "upsample_kernel_size": (2, 2, 2), "filters": (4, 4, 4, 4),
        "deep_supr_num": 2
    },
    "mednext": {
        "init_filters": 2, "blocks_down": (1, 1), "blocks_bottleneck": 1, "blocks_up": (1, 1), "kernel_size": 3
    },
}  # fmt: skip


@pytest.fixture(params=[2, 3])
def drawn(request) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of three levels ``(B, L, K, *sizes)`` and labels ``(B, 1, *sizes)``."""
    generator = torch.Generator().manual_seed(request.param)
    sizes = SIZES[request.param]
    logits = torch.randn(2, 3, 4, *sizes, generator=generator)
    return logits.requires_grad_(), torch.randint(4, (2, 1, *sizes), generator=generator)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("options", [{}, {"weight_mode": "two"}, {"weights": [0.5, 0.3, 0.2]}])
def test_stacked_levels_have_monais_numbers(drawn, base, options):
    logits, labels = drawn
    loss = DeepSupervisionLoss(BASES[base](), **options)(logits, labels)
    (gradient,) = torch.autograd.grad(loss, logits)
    listed = ListedLevelsLoss(BASES[base](), **options)([logits[:, level] for level in range(3)], labels)
    (expected,) = torch.autograd.grad(listed, logits)
    torch.testing.assert_close(loss, listed, rtol=0, atol=0)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=0)


@pytest.mark.parametrize("base", BASES)
def test_levels_count_half_of_the_level_before(drawn, base):
    logits, labels = drawn
    single = BASES[base]()
    expected = sum(0.5**level * single(logits[:, level], labels) for level in range(3))
    torch.testing.assert_close(DeepSupervisionLoss(single)(logits, labels), expected)


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 16, 1 / 16]),
        ({"weight_mode": "two"}, [1, *[1 / 2] * 6]),
        ({"weight_mode": "same"}, [1] * 7),
        ({"weights": [3.0, 2.0]}, [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 16, 1 / 16]),
    ],
)
def test_weights_of_many_levels(options, weights):
    levels = torch.randn(1, 7, 2, 4, 4, requires_grad=True)
    loss = DeepSupervisionLoss(lambda logits, labels: logits.sum(), **options)
    (gradient,) = torch.autograd.grad(loss(levels, torch.zeros(1, 1, 4, 4)), levels)
    assert gradient[0, :, 0, 0, 0].tolist() == weights


@pytest.mark.parametrize("base", BASES)
def test_logits_of_one_level_have_the_loss_that_is_wrapped(drawn, base):
    logits, labels = drawn
    single = BASES[base]()
    assert DeepSupervisionLoss(single)(logits[:, 0], labels) == single(logits[:, 0], labels)


def test_half_precision_is_summed_in_float32(drawn):
    logits, labels = drawn
    low = logits.detach().bfloat16()
    loss = DeepSupervisionLoss(BASES["DiceCE"]())
    assert loss(low, labels).dtype == torch.float32
    torch.testing.assert_close(loss(low, labels), loss(low.float(), labels), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["agunet", "daunet"])
def test_a_network_learns_from_every_level_in_training_and_is_scored_on_one(name):
    torch.manual_seed(0)
    network = create(
        name,
        spatial_dims=3,
        in_channels=1,
        out_channels=2,
        filters=(4, 8, 8),
        strides=(2, 2),
        deep_supervision=True,
    )
    image, labels = torch.randn(1, 1, 8, 9, 8), torch.randint(2, (1, 1, 8, 9, 8))
    loss = DeepSupervisionLoss(BASES["DiceCE"]())
    loss(network(image), labels).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.coarse_heads.parameters())
    network.eval()
    assert torch.isfinite(loss(network(image), labels))


@pytest.mark.parametrize("sizes", [(8, 8, 8), (7, 9, 5)])
@pytest.mark.parametrize("name", MONAIS)
def test_levels_of_monais_networks_have_all_classes_and_learn(name, sizes):
    """There are more classes than voxels along an axis."""
    torch.manual_seed(0)
    network = create(
        name, spatial_dims=3, in_channels=1, out_channels=20, deep_supervision=True, **MONAIS[name]
    )
    levels = network(torch.randn(2, 1, *sizes))
    listed = levels if isinstance(levels, tuple) else levels.unbind(1)
    assert [level.shape[1] for level in listed] == [20] * 3
    assert listed[0].shape[2:] == sizes
    labels = torch.randint(20, (2, 1, *sizes)).float()
    loss = DeepSupervisionLoss(BASES["Dice"]())(levels, labels)
    assert torch.equal(loss, ListedLevelsLoss(BASES["Dice"]())(listed, labels))
    gradients = torch.autograd.grad(loss, levels)
    assert all(gradient.any() for gradient in (gradients if len(gradients) > 1 else gradients[0].unbind(1)))


def test_labels_of_other_sizes_are_refused_by_the_loss_that_is_wrapped(drawn):
    logits, labels = drawn
    single = DeepSupervisionLoss(DiceLoss(softmax=True))
    with pytest.raises(AssertionError, match="different shape"):
        single(logits, labels)
