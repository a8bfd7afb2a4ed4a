"""Group norm by the kernel: PyTorch's, computed in float64, rounded once, in the layout of the input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from medkit.ops import native
from medkit.ops.group_norm import group_norm, is_served

LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
# Of the largest output: a few roundings of float32, and one of bfloat16.
ROUNDING = {torch.float32: 2.0**-21, torch.bfloat16: 2.0**-8}
SIZES = st.lists(st.integers(1, 20), min_size=2, max_size=3)
EPS = 1e-5


@pytest.fixture(scope="module", autouse=True)
def _kernel_is_there():
    assert native.library() is not None, (
        "the kernels are not compiled: run `pip install -e .` where there is a C compiler"
    )


def laid_out(x):
    return x.contiguous(memory_format=LAST[x.ndim])


def exact(x, weight, bias, groups=None, eps=EPS):
    """Without groups, each channel is one."""
    lines = x.double().reshape(len(x), groups or x.shape[1], -1)
    variance, mean = torch.var_mean(lines, 2, correction=0, keepdim=True)
    shape = (-1, *[1] * (x.ndim - 2))
    standard = ((lines - mean) / (variance + eps).sqrt()).view(x.shape)
    return standard * weight.double().view(shape) + bias.double().view(shape)


def instance_norm(x, weight, bias):
    return group_norm(x, x.shape[1], weight, bias, EPS)


def assert_near(found, expected, besides=0.0):
    """``besides``: a rounding of the mean, times what it is multiplied by."""
    assert found.is_contiguous(memory_format=LAST[found.ndim])
    off = (found.double() - expected).abs().max()
    assert off <= ROUNDING[found.dtype] * expected.abs().max().clamp(min=1) + besides


@pytest.mark.parametrize("dtype", ROUNDING)
@given(
    batch=st.integers(1, 3),
    groups=st.integers(1, 20),
    size=st.integers(1, 4),
    sizes=SIZES,
    seed=st.integers(0, 2**32),
)
def test_any_shape(dtype, batch, groups, size, sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    x = laid_out(torch.randn(batch, groups * size, *sizes, generator=generator).to(dtype))
    weight, bias = torch.randn(2, groups * size, generator=generator)
    expected = exact(x, weight, bias, groups)
    deviation = x.double().reshape(batch, groups, -1).std(2, correction=0).square().add(EPS).sqrt().min()
    assert_near(group_norm(x, groups, weight, bias, EPS), expected, 2**-22 * x.abs().max() / deviation)


@pytest.mark.parametrize("dtype", ROUNDING)
def test_a_million_voxels_far_from_zero(dtype):
    x = laid_out((torch.randn(1, 3, 64, 128, 128) + torch.tensor([0, 30, -500]).view(3, 1, 1, 1)).to(dtype))
    weight, bias = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.0, 1.0, 2.0])
    found, expected = instance_norm(x, weight, bias), exact(x, weight, bias)
    for channel, allowed in enumerate(
        (2e-6, 2e-5, 2e-4)
    ):  # float32 holds the mean to a rounding of its own size
        off = (found[:, channel].double() - expected[:, channel]).abs().max()
        assert off <= (allowed if dtype == torch.float32 else 2.0**-6)


def test_weight_and_bias_may_be_left_out_and_are_of_any_type():
    x = laid_out(torch.randn(2, 5, 6, 7))
    plain = instance_norm(x, None, None)
    assert_near(plain, exact(x, torch.ones(5), torch.zeros(5)))
    weight, bias = torch.randn(2, 10)[:, ::2].bfloat16()
    assert_near(instance_norm(x, weight, bias), exact(x, weight, bias))


def test_an_even_channel_is_the_bias():
    x = laid_out(torch.full((1, 2, 9, 9), 3.25))
    assert torch.equal(instance_norm(x, None, torch.tensor([0.5, -2.0]))[0, :, 4, 4], torch.tensor([0.5, -2]))


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_spoils_its_channel_alone(dtype, bad):
    x = torch.randn(1, 3, 20, 20).to(dtype)
    x[0, 1, 4, 4] = bad
    found = instance_norm(laid_out(x), None, None)
    assert found[0, 1].isnan().all()
    assert found[0, ::2].isfinite().all()


def test_a_nan_of_any_bits_stays_one():
    weight = torch.tensor([0x7FFFFFFF], dtype=torch.int32).view(torch.float32)
    x = laid_out(torch.randn(2, 2, 4, 4).bfloat16())
    assert instance_norm(x, weight.expand(2), None).isnan().all()


@pytest.mark.parametrize("shape", [(1, 7, 64, 80, 33), (3, 40, 50, 50), (2, 3, 4, 4)])
def test_every_number_of_threads_gives_the_same_bits(monkeypatch, shape):
    x = laid_out(torch.randn(shape))
    found = []
    for count in (1, 2, 3, 4, 16):
        monkeypatch.setattr(native, "thread_count", lambda count=count: count)
        found.append(instance_norm(x, None, None))
    assert all(torch.equal(other, found[0]) for other in found[1:])


@torch.no_grad()
def test_images_that_it_serves():
    x = torch.randn(1, 2, 4, 4, 4)
    assert is_served(laid_out(x))
    assert is_served(laid_out(x).bfloat16())
    assert is_served(laid_out(x[0]))
    others = {
        "contiguous": x,
        "another type": laid_out(x).half(),
        "another number of axes": x.flatten(3).transpose(1, 2),
        "a part": laid_out(x)[:, :, ::2],
        "no voxel": laid_out(x)[:, :, :0],
        "one voxel": laid_out(x[:, :, :1, :1, :1]),
        "another device": laid_out(x).to("meta"),
    }
    assert not [name for name, other in others.items() if is_served(other)]
    with torch.enable_grad():
        assert is_served(laid_out(x))
    served = []
    torch.func.jvp(lambda x: served.append(is_served(x)) or x, (laid_out(x),), (laid_out(x),))
    torch.func.vmap(lambda x: served.append(is_served(x)) or x)(laid_out(x)[None])
    assert served == [False, False]


@torch.no_grad()
def test_without_the_kernel_it_serves_nothing(monkeypatch):
    monkeypatch.setattr(native, "library", lambda: None)
    assert not is_served(laid_out(torch.randn(1, 2, 4, 4)))


@pytest.mark.parametrize("ndim", LAST)
def test_it_is_a_proper_operator(ndim):
    x, (weight, bias) = laid_out(torch.randn(2, 3, *[5] * (ndim - 2))), torch.randn(2, 3)
    operators = torch.ops.medkit
    learning = [one.requires_grad_() for one in (x.clone(), weight.clone(), bias.clone())]
    torch.library.opcheck(operators.group_norm_channels_last.default, (learning[0], 3, *learning[1:], EPS))
    torch.library.opcheck(operators.group_norm_channels_last_backward.default, (x, x.clone(), 3, weight, EPS))


def loss(x, weight, bias, slopes, groups, norm=exact):
    """A number whose gradients are those of the norm, along ``slopes``."""
    return (norm(x, weight, bias, groups) * slopes.to(x.dtype)).double().sum()


def ours(x, weight, bias, groups):
    return group_norm(x, groups, weight, bias, EPS)


@pytest.mark.parametrize("dtype", ROUNDING)
@given(
    batch=st.integers(1, 3),
    groups=st.integers(1, 20),
    size=st.integers(1, 4),
    sizes=SIZES,
    seed=st.integers(0, 2**32),
)
def test_gradients_of_any_shape(dtype, batch, groups, size, sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    x = laid_out(torch.randn(batch, groups * size, *sizes, generator=generator).to(dtype))
    slopes = torch.randn(x.shape, generator=generator).to(dtype)
    weight, bias = torch.randn(2, groups * size, generator=generator)
    given = [one.requires_grad_() for one in (x, weight, bias)]
    image, *of_channels = torch.autograd.grad(loss(*given, slopes, groups, ours), given)
    doubles = [one.detach().double().requires_grad_() for one in given]
    exact_image, *exact_channels = torch.autograd.grad(loss(*doubles, slopes, groups), doubles)
    deviation = doubles[0].reshape(batch, groups, -1).std(2, correction=0).square().add(EPS).sqrt().min()
    assert_near(image, exact_image, 2**-20 * slopes.abs().max() * weight.abs().max() / deviation**2)
    for found, expected in zip(of_channels, exact_channels, strict=True):
        assert (found - expected).abs().max() <= 2**-20 * expected.abs().max() + 2**-22


@pytest.mark.parametrize("shape", [(1, 7, 64, 80, 33), (3, 40, 50, 50)])
def test_every_number_of_threads_gives_gradients_of_the_same_bits(monkeypatch, shape):
    x, slopes, found = laid_out(torch.randn(shape)).requires_grad_(), torch.randn(shape), []
    for count in (1, 3, 16):
        monkeypatch.setattr(native, "thread_count", lambda count=count: count)
        found.append(torch.autograd.grad(loss(x, None, None, slopes, shape[1], ours), x)[0])
    assert all(torch.equal(other, found[0]) for other in found[1:])


def test_gradients_of_gradients():
    x, weight, bias = torch.randn(2, 6, 5, 4, 3), torch.randn(6), torch.randn(6)
    slopes, penalties = [], []
    for norm, dtype in ((ours, torch.float32), (exact, torch.float64)):
        given = [
            laid_out(x).to(dtype).requires_grad_(),
            *(one.to(dtype).requires_grad_() for one in (weight, bias)),
        ]
        image, of_weight = torch.autograd.grad(
            norm(*given, 3).double().pow(3).sum(), given[:2], create_graph=True
        )
        penalties.append(image.double().square().sum() + of_weight.double().square().sum())
        slopes.append(torch.autograd.grad(penalties[-1], given))
    torch.testing.assert_close(penalties[0], penalties[1], rtol=1e-5, atol=1e-5)
    for found, expected in zip(*slopes, strict=True):
        torch.testing.assert_close(
            found.double(), expected, rtol=1e-4, atol=1e-3 * float(expected.abs().max())
        )


def test_a_gradient_that_is_not_finite_spoils_its_group_alone():
    x, slopes = laid_out(torch.randn(1, 4, 9, 9)).requires_grad_(), torch.randn(1, 4, 9, 9)
    slopes[0, 1, 3, 3] = float("nan")
    (found,) = torch.autograd.grad(loss(x, None, None, slopes, 2, ours), x)
    assert found[0, :2].isnan().all()
    assert found[0, 2:].isfinite().all()


def test_the_oracle_is_pytorchs():
    x, weight, bias = (torch.randn(shape).double() for shape in ((2, 6, 5, 6, 7), 6, 6))
    torch.testing.assert_close(exact(x, weight, bias), functional.instance_norm(x, weight=weight, bias=bias))
    torch.testing.assert_close(exact(x, weight, bias, 2), functional.group_norm(x, 2, weight, bias))
