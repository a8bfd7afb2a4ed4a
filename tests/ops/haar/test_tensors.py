"""The tensors that the operators take, and those that they refuse."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from medkit.ops.haar import haar_dwt, haar_idwt
from tests.ops.haar.cases import assert_same

STRIDED = {
    "channels last": lambda x: x.to(memory_format=torch.channels_last_3d),
    "transposed": lambda x: x.transpose(2, 4),
    "every other": lambda x: x[:, :, ::2, :, ::2],
    "cropped": lambda x: x[..., 1:, 1:, 1:],
    "expanded": lambda x: x[:, :1, :1].expand(2, 8, 5, 6, 8),
    "flipped in sign": lambda x: torch.complex(x, x).conj().imag,
}


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("name", STRIDED)
def test_any_strides(name):
    x = STRIDED[name](torch.randn(2, 8, 4, 6, 8))
    assert not x.is_contiguous() or x.is_neg()
    dense = x.clone(memory_format=torch.contiguous_format)
    assert_same(haar_dwt(x), haar_dwt(dense))
    assert_same(haar_idwt(x), haar_idwt(dense))


def test_gradient_of_a_sum_that_has_no_strides():
    x = torch.randn(1, 2, 4, 4, 4, requires_grad=True)
    haar_dwt(x).sum().backward()
    torch.testing.assert_close(x.grad, haar_idwt(torch.ones(1, 16, 2, 2, 2)))


@pytest.mark.usefixtures("path")
def test_no_samples_or_no_channels():
    assert haar_dwt(torch.ones(0, 3, 4, 5)).shape == (0, 12, 2, 3)
    assert haar_dwt(torch.ones(2, 0, 4, 4, 4)).shape == (2, 0, 2, 2, 2)
    assert haar_idwt(torch.ones(0, 12, 2, 3), (4, 5)).shape == (0, 3, 4, 5)
    assert haar_idwt(torch.ones(2, 0, 2, 2, 2)).shape == (2, 0, 4, 4, 4)


def test_tensors_of_monai():
    x = MetaTensor(torch.randn(1, 2, 4, 6, 8))
    assert_same(haar_idwt(haar_dwt(x)).as_tensor(), haar_idwt(haar_dwt(x.as_tensor())))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 4), r"expected \(B, C, H, W\) or .* got .* \(4, 4\)"),
        ((1, 1, 2, 2, 2, 2), r"expected \(B, C, H, W\) or .* got .* \(1, 1, 2, 2, 2, 2\)"),
        ((1, 1, 0, 4), r"expected elements .* got shape \(1, 1, 0, 4\)"),
        ((1, 8, 4, 0, 4), r"expected elements .* got shape \(1, 8, 4, 0, 4\)"),
    ],
)
@pytest.mark.parametrize("function", [haar_dwt, haar_idwt])
def test_other_shapes_are_refused(function, shape, message):
    with pytest.raises(ValueError, match=message):
        function(torch.ones(shape))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_other_types_are_refused(dtype):
    with pytest.raises(TypeError, match=rf"expected torch.float32, .* got {dtype}; convert"):
        haar_dwt(torch.ones(1, 1, 4, 4, dtype=dtype))


def test_channels_that_are_no_bands_are_refused():
    with pytest.raises(ValueError, match=r"expected 8 sub-bands .* got 12 channels"):
        haar_idwt(torch.ones(1, 12, 2, 2, 2))


@pytest.mark.parametrize("size", [(4,), (4, 4, 4), (2, 4), (5, 4), (4, -4)])
def test_sizes_of_other_volumes_are_refused(size):
    with pytest.raises(
        ValueError, match=r"expected a size of which \(2, 2\) is the half, rounded up, got \("
    ):
        haar_idwt(torch.ones(1, 4, 2, 2), size)
