"""One layer: what it learns, what stays as it is, and on which voxels its answers lie."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from medkit.errors import UsageError
from medkit.networks import create
from medkit.networks.blocks import to_blocks
from medkit.networks.lateral_logits import LateralLogits
from medkit.networks.one_layer import OneLayer

SIZES = (9, 8, 7)


@pytest.fixture
def below():
    torch.manual_seed(0)
    return create(
        "subvoxel_unet", spatial_dims=3, in_channels=1, out_channels=3, filters=(6, 8), strides=(2,)
    )


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("image_channels", [0, 1])
def test_an_answer_at_every_voxel(below, image_channels, kernel_size):
    model = OneLayer(LateralLogits(below, 3, [[1, 2]]), 2, image_channels, kernel_size)
    image = torch.randn(2, 1, *SIZES)
    assert model(image).shape == (2, 2, *SIZES)
    assert torch.equal(model.of_features(model.features(image), image), model(image))


def test_the_layer_alone_is_trained(below):
    before = {name: value.clone() for name, value in below.state_dict().items()}
    model = OneLayer(below, 1).train()
    assert not model.network.training
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == [
        "layer.weight",
        "layer.bias",
    ]
    image, optimiser = torch.randn(1, 1, *SIZES), torch.optim.Adam(model.layer.parameters(), 0.1)
    untrained = model(image).detach()
    model(image).square().mean().backward()
    optimiser.step()
    assert not torch.equal(model(image), untrained)
    assert all(torch.equal(value, before[name]) for name, value in below.state_dict().items())
    assert all(parameter.grad is None for parameter in below.parameters())


def test_it_learns_what_the_features_know(below):
    """A linear function of them, to rounding: the truth is made from features by a layer of its own."""
    image = torch.randn(1, 1, 8, 8, 8)
    torch.manual_seed(1)
    truth = OneLayer(below, 1)(image).detach()
    model = OneLayer(below, 1)
    features = model.features(image)
    optimiser = torch.optim.LBFGS(model.layer.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        found = functional.mse_loss(model.of_features(features, image), truth)
        found.backward()
        return found

    optimiser.step(loss)
    assert float(loss().detach()) < 1e-3 * float(truth.var())


def test_the_image_that_it_sees_keeps_its_voxels(below):
    """A layer that passes the image on, and nothing of the features, gives the image back."""
    model, image = OneLayer(below, 1, image_channels=1), torch.randn(1, 1, *SIZES)
    with torch.no_grad():
        model.layer.weight.zero_()
        model.layer.bias.zero_()
        for voxel in range(to_blocks(image, 2).shape[1]):
            model.layer.weight[voxel, below.feature_channels + voxel] = 1
    assert torch.equal(model(image), image)


def test_networks_and_kernels_that_do_not_serve(below):
    with pytest.raises(UsageError, match=r"kernel_size: expected an odd number of 1 or more, .* got 2"):
        OneLayer(below, 1, kernel_size=2)
    with pytest.raises(UsageError, match=r"expected a network that gives its features .* got Conv3d"):
        OneLayer(torch.nn.Conv3d(1, 1, 1), 1)
