"""Every network of the registry: it runs, learns everywhere, repeats itself, and says what is wrong in a call."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medkit.errors import UsageError
from medkit.networks import create, names

# Arguments that make each network small, and let it halve its input twice at most. One line a network.
SMALL = {
    "attention_unet": {"channels": (4, 8, 8), "strides": (2, 2)},
    "dynunet": {
        "kernel_size": (3, 3, 3), "strides": (1, 2, 2), "upsample_kernel_size": (2, 2), "filters": (4, 8, 8)
    },
    "segresnet": {"init_filters": 8, "blocks_down": (1, 1, 1), "blocks_up": (1, 1)},
    "unet": {"channels": (4, 8, 8), "strides": (2, 2), "num_res_units": 1},
}  # fmt: skip
CHANNELS, CLASSES = 2, 3
SHAPE = (2, CHANNELS, 16, 20, 12)
every_network = pytest.mark.parametrize("name", names())


def small(name: str) -> nn.Module:
    """The network with the same weights every time, in training mode."""
    torch.manual_seed(0)
    return create(name, spatial_dims=3, in_channels=CHANNELS, out_channels=CLASSES, **SMALL[name]).train()


def image() -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


def gradients(network: nn.Module) -> dict[str, torch.Tensor | None]:
    """Gradients of a loss that every voxel of the output has its own part in."""
    torch.manual_seed(2)
    output = network(image())
    (output * torch.randn_like(output)).sum().backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def test_the_table_has_every_network_and_no_other():
    assert names(), "the registry is empty"
    assert sorted(SMALL) == names()


@every_network
def test_logits_on_the_grid_of_the_image(name):
    output = small(name)(image())
    assert output.shape == (SHAPE[0], CLASSES, *SHAPE[2:])
    assert output.dtype == torch.float32
    assert torch.isfinite(output).all()


@every_network
def test_every_parameter_gets_a_gradient(name):
    found = gradients(small(name))
    assert found
    assert [key for key, gradient in found.items() if gradient is None] == []
    assert [key for key, gradient in found.items() if not torch.isfinite(gradient).all()] == []
    assert [key for key, gradient in found.items() if not gradient.any()] == []


@every_network
def test_bfloat16_autocast(name):
    network = small(name)
    expected = network(image())
    with torch.autocast("cpu", torch.bfloat16):
        output = network(image())
    output.float().square().mean().backward()
    assert output.dtype == torch.bfloat16
    assert torch.isfinite(output).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
    # Eight bits of mantissa, and several layers of them.
    assert (output.float() - expected).abs().mean() < 0.1 * expected.abs().mean()


@every_network
def test_a_repeat_gives_the_same_numbers(name):
    first, second = small(name), small(name)
    assert torch.equal(first(image()), second(image()))
    once, again = gradients(first), gradients(second)
    assert all(torch.equal(once[key], again[key]) for key in once)


@every_network
def test_inference_does_not_depend_on_the_neighbours_in_a_batch(name):
    network = small(name).eval()
    with torch.no_grad():
        both, alone = network(image()), network(image()[1:])
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "hint"), [("dynunett", "did you mean 'dynunet'?"), ("UNet", "did you mean 'unet'?"), ("?", "")]
)
def test_an_unknown_name(name, hint):
    with pytest.raises(UsageError) as caught:
        create(name)
    message = str(caught.value)
    assert message.startswith(f"no network '{name}': {hint}")
    assert message.endswith(f"known networks: {', '.join(names())}")


@every_network
def test_an_argument_that_the_network_does_not_take(name):
    with pytest.raises(UsageError, match=f"'{name}' takes no 'in_chanels': did you mean 'in_channels'"):
        create(name, spatial_dims=3, in_chanels=1, out_channels=1, **SMALL[name])


@pytest.mark.parametrize("name", ["attention_unet", "dynunet", "unet"])
def test_an_argument_that_is_missing(name):
    with pytest.raises(UsageError, match=f"network '{name}' needs .*out_channels"):
        create(name, spatial_dims=3, in_channels=1)


def test_arguments_that_the_network_refuses():
    with pytest.raises(UsageError, match=r"network 'unet': .*strides"):
        create("unet", spatial_dims=3, in_channels=1, out_channels=1, channels=(4, 8), strides=())
