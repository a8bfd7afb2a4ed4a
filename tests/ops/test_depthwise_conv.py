"""The depthwise convolutions give what PyTorch's own give, look where they should, and refuse what does not fit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from medkit.ops.depthwise_conv import causal_conv1d, depthwise_conv


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(
    st.integers(1, 3), st.integers(1, 5), st.integers(1, 40), st.integers(1, 6), st.booleans(), st.integers()
)
def test_causal_convolution_is_that_of_pytorch(batch, channels, length, width, biased, seed):
    seed %= 2**31
    x, weight = normal(batch, channels, length, seed=seed), normal(channels, width, seed=seed + 1)
    bias = normal(channels, seed=seed + 2) if biased else None
    expected = functional.conv1d(x, weight[:, None], bias, padding=width - 1, groups=channels)[..., :length]
    torch.testing.assert_close(causal_conv1d(x, weight, bias), expected)
    activated = causal_conv1d(x, weight, bias, activation="silu")
    torch.testing.assert_close(activated, functional.silu(expected))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_in_reverse_it_is_the_flipped_one_of_the_flipped(dtype):
    x, weight, bias = (t.to(dtype) for t in (normal(2, 3, 21), normal(3, 4), normal(3)))
    expected = causal_conv1d(x.flip(-1), weight, bias, activation="silu").flip(-1)
    torch.testing.assert_close(causal_conv1d(x, weight, bias, activation="silu", reverse=True), expected)


@pytest.mark.parametrize("reverse", [False, True])
def test_no_step_sees_a_later_one(reverse):
    x, weight = normal(1, 2, 9), normal(2, 4)
    changed = x.clone()
    changed[..., 5] += 1
    differs = (
        causal_conv1d(x, weight, reverse=reverse) != causal_conv1d(changed, weight, reverse=reverse)
    ).any(1)
    assert differs[0].nonzero().flatten().tolist() == ([2, 3, 4, 5] if reverse else [5, 6, 7, 8])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_rounded_once(dtype):
    x, weight, bias = (t.to(dtype) for t in (normal(1, 4, 50), normal(4, 4), normal(4)))
    exact = causal_conv1d(x.double(), weight.double(), bias.double(), activation="silu")
    found = causal_conv1d(x, weight, bias, activation="silu")
    assert found.dtype == dtype
    # Half a unit in the last place, and a little for sums in float32 that lie between two numbers of the type.
    assert ((found.double() - exact).abs() <= exact.abs() * torch.finfo(dtype).eps * 0.501 + 1e-6).all()


@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_of_the_causal_convolution(reverse):
    given = [t.requires_grad_() for t in (normal(2, 3, 7), normal(3, 4), normal(3))]
    torch.autograd.gradcheck(lambda *x: causal_conv1d(*x, activation="silu", reverse=reverse), given)


@pytest.mark.parametrize("size", [(1, 1, 1), (4, 5, 6), (7, 2, 3)])
@pytest.mark.parametrize("filters", [(3, 3, 3), (1, 5, 3)])
def test_centred_convolution_is_the_sum_over_neighbours(size, filters):
    x, weight, bias = normal(2, 3, *size), normal(3, *filters), normal(3)
    margins = [n // 2 for n in filters]
    padded = functional.pad(x, [m for margin in reversed(margins) for m in (margin, margin)])
    windows = padded.unfold(2, filters[0], 1).unfold(3, filters[1], 1).unfold(4, filters[2], 1)
    expected = torch.einsum("bcdhwijk,cijk->bcdhw", windows, weight) + bias[:, None, None, None]
    torch.testing.assert_close(depthwise_conv(x, weight, bias), expected)
    activated = depthwise_conv(x, weight, bias, activation="silu")
    torch.testing.assert_close(activated, functional.silu(expected))


@pytest.mark.parametrize("axes", [1, 2])
def test_centred_convolution_of_fewer_axes(axes):
    sizes, filters = (6, 7)[:axes], (3, 5)[:axes]
    x, weight = normal(2, 3, *sizes), normal(3, *filters)
    spare = (1,) * (3 - axes)
    expected = depthwise_conv(x.view(2, 3, *spare, *sizes), weight.view(3, *spare, *filters))
    torch.testing.assert_close(depthwise_conv(x, weight), expected.view(x.shape))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_centred_convolution_keeps_the_type(dtype):
    x, weight, bias = normal(1, 2, 4, 4, 4).to(dtype), normal(2, 3, 3, 3).float(), normal(2).float()
    found = depthwise_conv(x, weight, bias)
    assert found.dtype == dtype
    exact = depthwise_conv(x.double(), weight.double(), bias.double())
    assert (found - exact).abs().max() <= 8 * torch.finfo(dtype).eps * exact.abs().max()


def test_what_does_not_fit_is_refused():
    x, weight = torch.zeros(1, 4, 10), torch.zeros(4, 3)
    with pytest.raises(
        ValueError, match=r"x of batch, channels and 1 further axes, none of them 0, got \(4, 10\)"
    ):
        causal_conv1d(x[0], weight)
    with pytest.raises(ValueError, match=r"none of them 0, got \(1, 4, 0\)"):
        causal_conv1d(x[..., :0], weight)
    with pytest.raises(
        ValueError, match=r"a weight of 4 channels, as x has, and 1 further axes.* got \(3, 3\)"
    ):
        causal_conv1d(x, weight[:3])
    with pytest.raises(ValueError, match=r"a weight of 4 channels.* got \(4, 1, 3\)"):
        causal_conv1d(x, weight[:, None])
    with pytest.raises(ValueError, match=r"a bias of \(4,\), as x has channels, got \(1,\)"):
        causal_conv1d(x, weight, torch.zeros(1))
    with pytest.raises(ValueError, match="'silu' or None, got 'relu'"):
        causal_conv1d(x, weight, activation="relu")
    volume = torch.zeros(1, 4, 2, 3, 4)
    with pytest.raises(ValueError, match=r"odd sizes.* got \(4, 3, 2, 3\)"):
        depthwise_conv(volume, torch.zeros(4, 3, 2, 3))
    with pytest.raises(ValueError, match=r"and 3 further axes.* got \(4, 1, 3, 3, 3\)"):
        depthwise_conv(volume, torch.zeros(4, 1, 3, 3, 3))
    with pytest.raises(ValueError, match=r"1 to 3 further axes, got \(1, 4, 1, 1, 1, 1\)"):
        depthwise_conv(torch.zeros(1, 4, 1, 1, 1, 1), torch.zeros(4, 3, 3, 3))


@pytest.mark.parametrize("name", ["x", "weight", "bias"])
@pytest.mark.parametrize("convolve", [causal_conv1d, depthwise_conv])
def test_integers_are_refused_and_not_rounded(name, convolve):
    given = {"x": torch.ones(1, 2, 5), "weight": torch.ones(2, 3), "bias": torch.ones(2)}
    given[name] = given[name].to(torch.int16)
    with pytest.raises(
        TypeError, match=f"expected {name} of a floating-point type, got torch.int16; convert it first"
    ):
        convolve(**given)


@pytest.mark.parametrize(("width", "depth"), [(3, 2), (5, 2), (5, 4)])
@pytest.mark.parametrize("autocast", [False, True])
def test_gradients_in_bfloat16_of_filters_longer_than_the_image(width, depth, autocast):
    x = normal(2, 32, depth, 9, 9).float().to(memory_format=torch.channels_last_3d)
    weight, seen = (
        normal(32, width, width, width).float().requires_grad_(),
        normal(2, 32, depth, 9, 9).float(),
    )
    (expected,) = torch.autograd.grad(depthwise_conv(x, weight), [weight], seen)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = depthwise_conv(x.bfloat16(), weight if autocast else weight.bfloat16())
    (found,) = torch.autograd.grad(y, [weight], seen.to(y.dtype))
    assert y.dtype == torch.bfloat16
    assert (found - expected).norm() < 0.02 * expected.norm()
