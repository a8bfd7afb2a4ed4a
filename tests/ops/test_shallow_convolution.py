import copy

import pytest
import torch
from torch import nn

from medkit.ops.shallow_convolution import give_room, missing_room

LAYERS = {
    "kernel 3, 2 deep": (nn.Conv3d(16, 16, 3, padding=1), (2, 9, 9)),
    "kernel 5, 2 deep": (nn.Conv3d(16, 16, 5, padding=2), (2, 9, 9)),
    "kernel 7, 5 deep": (nn.Conv3d(16, 16, 7, padding=3), (5, 9, 9)),
    "kernel 7, 2 wide": (nn.Conv3d(16, 16, 7, padding=3), (9, 2, 9)),
    "depthwise": (nn.Conv3d(32, 32, 5, padding=2, groups=32), (4, 9, 9)),
    "of unequal sides": (nn.Conv3d(16, 32, (7, 1, 3), padding=(3, 0, 1)), (6, 7, 8)),
    "strided": (nn.Conv3d(16, 16, 3, stride=(1, 2, 2), padding=1), (2, 4, 8)),
    "dilated": (nn.Conv3d(24, 48, 3, padding=(3, 2, 1), dilation=(3, 2, 1), groups=24), (1, 13, 6)),
    "transposed": (nn.ConvTranspose3d(32, 32, 5, stride=(1, 2, 3), padding=2), (3, 5, 14)),
    "in 2D": (nn.Conv2d(16, 16, (4, 3), stride=(1, 3), padding=1), (12, 2)),
}


@pytest.mark.parametrize(
    ("kernel", "dilation", "stride", "sizes", "expected"),
    [
        ((3, 3, 3), (1, 1, 1), (1, 1, 1), (3, 3, 3), [0, 0, 0]),
        ((3, 3, 3), (1, 1, 1), (1, 1, 1), (9, 9, 2), [0, 0, 1]),
        ((1, 1, 7), (1, 1, 1), (1, 1, 2), (1, 1, 7), [0, 0, 1]),
        ((3, 3), (1, 2), (1, 1), (9, 5), [0, 0]),
        ((3, 3), (1, 2), (1, 1), (1, 4), [2, 1]),
    ],
)
def test_voxels_that_a_kernel_lacks_along_each_axis(kernel, dilation, stride, sizes, expected):
    assert missing_room(kernel, dilation, stride, sizes) == expected


def output_and_gradients(layer: nn.Module, image: torch.Tensor, *, bf16: bool) -> list[torch.Tensor]:
    image = image.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        output = layer(image)
    weights = torch.linspace(-1, 1, output.numel()).view(output.shape)
    found = torch.autograd.grad(output, [image, *layer.parameters()], weights.to(output.dtype))
    assert output.dtype == (torch.bfloat16 if bf16 else image.dtype)
    return [output, *found]


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_what_is_longer_than_its_image_has_the_gradients_of_float64(name, channels_last):
    layer, sizes = LAYERS[name]
    torch.manual_seed(0)
    image = torch.randn(2, layer.in_channels, *sizes)
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}[image.ndim]
    layout = layout if channels_last else torch.contiguous_format
    layer, image = layer.to(memory_format=layout), image.to(memory_format=layout)
    expected = output_and_gradients(copy.deepcopy(layer).double(), image.double(), bf16=False)
    give_room(layer)
    for found, truth in zip(output_and_gradients(layer, image, bf16=True), expected, strict=True):
        assert (found - truth).norm() < 0.02 * truth.norm()


def test_what_fits_stays_as_it_is():
    layer = nn.Conv3d(4, 4, 3, padding=1)
    image = torch.randn(1, 4, 3, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        plain = layer(image)
        give_room(layer)
        assert torch.equal(layer(image), plain)


def test_a_stride_over_a_short_image_is_right_in_float32_too():
    """Unwatched, this damages the heap: the process ends here or later."""
    torch.manual_seed(0)
    layer = nn.Conv3d(32, 32, 7, stride=(2, 1, 3), padding=3)
    image = torch.randn(1, 32, 5, 9, 14)
    give_room(layer)
    _, _, found, _ = output_and_gradients(layer, image, bf16=False)
    _, _, truth, _ = output_and_gradients(layer.double(), image.double(), bf16=False)
    assert (found - truth).norm() < 1e-4 * truth.norm()


def test_other_borders_than_zeros_stay_as_they_are():
    layer = nn.Conv3d(2, 2, 3, padding=1, padding_mode="replicate")
    image = torch.randn(1, 2, 2, 5, 5)
    plain = layer(image)
    give_room(layer)
    assert torch.equal(layer(image), plain)
