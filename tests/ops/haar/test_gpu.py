"""The Triton kernel gives what the plain form gives: on a GPU, and without one through Triton's interpreter.

Triton decides once in a process which of the two it is, so that the tests through the interpreter run in a process
of their own, started by the last test here.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medkit.ops.haar import haar_dwt, haar_idwt, reference
from tests.ops.haar.cases import TYPES, assert_same, bands_like, volumes
from tests.ops.interpreter import (
    DEVICE,
    INTERPRETED,
    assert_passes_interpreted,
    not_interpreted,
    on_device,
    on_gpu,
    outside_interpreter,
)


def check(x: torch.Tensor) -> None:
    from medkit.ops.haar import gpu

    x = x.to(DEVICE)
    bands, expected = bands_like(x), reference.haar_dwt(x)
    gpu.transform(x, bands, inverse=False)
    compare(bands, expected)
    volume = torch.full_like(x, torch.nan)
    bands = torch.randn(bands.shape, device=x.device).to(x.dtype)
    gpu.transform(volume, bands, inverse=True)
    compare(volume, reference.haar_idwt(bands, x.shape[2:]))


def compare(got: torch.Tensor, expected: torch.Tensor) -> None:
    if INTERPRETED and got.dtype == torch.bfloat16:  # the interpreter cuts digits off where a GPU rounds
        torch.testing.assert_close(got, expected, rtol=torch.finfo(got.dtype).eps, atol=0)
    else:
        assert_same(got, expected)


@on_device
@pytest.mark.parametrize("dtype", TYPES)
@settings(max_examples=15)
@given(data=st.data())
def test_outputs_are_those_of_the_reference(dtype, data):
    check(data.draw(volumes(dtype)))


@on_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1, 3, 2, 515), (1, 2, 2, 259, 3), (1, 2, 1, 1030), (1, 2, 33, 70)])
def test_more_than_one_tile_along_each_axis(shape, dtype):
    check(torch.randn(shape).to(dtype))


@on_gpu
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(2, 3, 65, 66, 67), (2, 8, 64, 64, 64), (3, 2, 127, 300)])
def test_operators_and_gradients_on_a_gpu(shape, dtype):
    x = torch.randn(shape, device="cuda").to(dtype).requires_grad_()
    bands = haar_dwt(x)
    assert_same(bands, reference.haar_dwt(x))
    weights = torch.randn_like(bands)
    (gradient,) = torch.autograd.grad(bands, x, weights)
    assert_same(gradient, reference.haar_idwt(weights, shape[2:]))
    assert_same(haar_idwt(bands, shape[2:]).cpu(), haar_idwt(bands.cpu(), shape[2:]))


@on_gpu
def test_more_elements_than_32_bits_count():
    x = torch.zeros(1, 3, 1024, 1024, 1024, dtype=torch.bfloat16, device="cuda")
    x[0, 2, -1, -1, -1] = 1
    bands = haar_dwt(x)
    assert bands[0, 2::3, -1, -1, -1].abs().eq(bands[0, 2, -1, -1, -1]).all()
    assert torch.equal(haar_idwt(bands), x)


@not_interpreted
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("volumetric", [False, True])
@pytest.mark.parametrize("element", ["fp32", "bf16", "fp64"])
def test_compiles_for_a_gpu_that_is_not_here(monkeypatch, tmp_path, element, volumetric, inverse):
    """The interpreter accepts what the compiler refuses."""
    import triton
    import triton.language as tl
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from medkit.ops.haar import gpu

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    constants = {
        "INVERSE": inverse,
        "VOLUMETRIC": volumetric,
        "SCALE": 0.5,
        "SUM": tl.float64 if element == "fp64" else tl.float32,
        "ROWS": 8,
        "COLUMNS": 64,
    }
    types = {"volume": f"*{element}", "bands": f"*{element}"}
    signature = {
        name: "constexpr" if name in constants else types.get(name, "i32") for name in gpu._kernel.arg_names
    }
    compiled = triton.compile(ASTSource(gpu._kernel, signature, constants), target=GPUTarget("cuda", 90, 32))
    assert "st.global" in compiled.asm["ptx"]


@outside_interpreter
def test_through_the_interpreter():
    assert_passes_interpreted(__file__)
