"""The operators: an isometry with its adjoint for gradient."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medkit.ops.haar import haar_dwt, haar_idwt, reference
from tests.ops.haar.cases import SHAPES, TYPES, assert_same, random_bands, shapes, volumes


@given(volumes())
def test_inverse_is_exact_and_energy_is_kept(x):
    bands = haar_dwt(x)
    assert (haar_idwt(bands, x.shape[2:]) - x).abs().max() < 1e-6 * max(1, float(x.abs().max()))
    torch.testing.assert_close(bands.square().sum(), x.square().sum(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("axes", [2, 3])
def test_bands_come_one_after_the_other_each_with_all_channels(axes):
    x = torch.arange(1.0, 4.0).view(1, 3, *[1] * axes).expand(2, 3, *[4] * axes)
    bands = haar_dwt(x).unflatten(1, (-1, 3))
    low = x[(..., *[slice(2)] * axes)] * 2 ** (axes / 2)
    torch.testing.assert_close(bands[:, 0], low)
    assert bands.shape[1] == 2**axes
    assert not bands[:, 1:].any()


@pytest.mark.parametrize("axes", [2, 3])
def test_each_axis_has_its_letter(axes):
    for axis in range(axes):
        x = torch.tensor([1.0, -1.0]).view(-1, *[1] * (axes - 1 - axis)).expand(1, 1, *[2] * axes)
        high = "".join("H" if other == axis else "L" for other in range(axes))
        names = {2: "LL LH HL HH", 3: "LLL LLH LHL LHH HLL HLH HHL HHH"}[axes].split()
        assert haar_dwt(x).flatten().nonzero().flatten().tolist() == [names.index(high)]


def test_size_is_twice_that_of_the_bands_when_left_out():
    bands = torch.randn(1, 8, 2, 3, 4)
    assert_same(haar_idwt(bands), haar_idwt(bands, (4, 6, 8)))


@given(shapes(), st.integers(0, 2**32))
def test_one_is_the_adjoint_of_the_other_at_odd_sizes_too(shape, seed):
    torch.manual_seed(seed)
    x = torch.randn(shape, dtype=torch.float64)
    y = random_bands(x)
    size = x.shape[2:]
    torch.testing.assert_close((haar_dwt(x) * y).sum(), (x * haar_idwt(y, size)).sum(), rtol=0, atol=1e-11)


@pytest.mark.usefixtures("path", "poisoned")
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_and_gradients_are_those_of_the_reference(shape, dtype):
    x = torch.randn(shape).to(dtype).requires_grad_()
    bands, expected = haar_dwt(x), reference.haar_dwt(x)
    y = torch.randn(bands.shape).to(dtype).requires_grad_()
    volume, expected_volume = haar_idwt(y, shape[2:]), reference.haar_idwt(y, shape[2:])
    assert_same(bands, expected)
    assert_same(volume, expected_volume)
    assert bands.dtype == volume.dtype == dtype
    assert bands.is_contiguous()
    assert volume.is_contiguous()
    wide = x.detach().to(torch.promote_types(dtype, torch.float32)).requires_grad_()
    ours, theirs = torch.autograd.grad(bands, x, y), torch.autograd.grad(reference.haar_dwt(wide), wide, y)
    tolerance = {"rtol": 2 * torch.finfo(dtype).eps, "atol": 4 * torch.finfo(dtype).eps}
    torch.testing.assert_close(ours[0].to(wide.dtype), theirs[0], **tolerance)
    wide = y.detach().to(wide.dtype).requires_grad_()
    ours = torch.autograd.grad(volume, y, x)
    theirs = torch.autograd.grad(reference.haar_idwt(wide, shape[2:]), wide, x)
    torch.testing.assert_close(ours[0].to(wide.dtype), theirs[0], **tolerance)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_of_first_and_second_order(shape):
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    y = random_bands(x).requires_grad_()
    for function, argument in ((haar_dwt, x), (lambda y: haar_idwt(y, shape[2:]), y)):
        assert torch.autograd.gradcheck(function, argument)
        assert torch.autograd.gradgradcheck(function, argument)


def test_imports_and_computes_without_triton_and_without_the_library():
    code = (
        "import sys; sys.modules['triton'] = None; sys.modules['medkit.ops._native'] = None\n"
        "import torch; from medkit.ops.haar import haar_dwt, haar_idwt\n"
        "x = torch.randn(1, 2, 5, 6, 7); y = haar_idwt(haar_dwt(x), x.shape[2:])\n"
        "assert (x - y).abs().max() < 1e-6; assert 'medkit.ops.haar.gpu' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
