"""The compiled kernel gives the bits of the plain form, whatever the shape, the type and the number of threads."""

from __future__ import annotations

import multiprocessing
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medkit.ops import native
from medkit.ops.haar import cpu, reference
from tests.ops.haar.cases import TYPES, assert_same, bands_like, volumes


@pytest.fixture(scope="module", autouse=True)
def _kernel_is_there():
    assert cpu.is_available(), (
        "the kernels are not compiled: run `pip install -e .` where there is a C compiler"
    )


def check(x: torch.Tensor) -> None:
    bands = bands_like(x)
    cpu.transform(x, bands, inverse=False)
    assert_same(bands, reference.haar_dwt(x))
    bands = torch.randn(bands.shape).to(x.dtype)  # any bands, not only those of a volume
    volume = torch.full_like(x, torch.nan)
    cpu.transform(volume, bands, inverse=True)
    assert_same(volume, reference.haar_idwt(bands, x.shape[2:]))


@pytest.mark.parametrize("dtype", TYPES)
@given(data=st.data())
def test_outputs_are_those_of_the_reference(dtype, data):
    check(data.draw(volumes(dtype)))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("width", [31, 32, 33, 64, 130, 1023, 1024, 1025, 1026, 2049])
@pytest.mark.parametrize("spatial", [(2,), (3,), (2, 2), (3, 3)])
def test_widths_around_those_of_vectors_and_blocks(dtype, width, spatial):
    check(torch.randn(1, 2, *spatial, width).to(dtype))


@pytest.mark.parametrize("shape", [(1, 3, 33, 40, 50), (2, 1, 128, 7, 100), (1, 1, 301, 500)])
def test_every_number_of_threads_gives_the_same_bits(monkeypatch, shape):
    x = torch.randn(shape)
    for count in (1, 2, 3, 4, 16):
        monkeypatch.setattr(native, "thread_count", lambda count=count: count)
        check(x)


@pytest.mark.parametrize("dtype", TYPES)
def test_memory_that_is_not_aligned(dtype):
    x = torch.randn(1 + 3 * 5 * 6 * 70).to(dtype)[1:].view(1, 3, 5, 6, 70)
    check(x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1, 2.0**-12, 2.0**-14, 2.0**-20])
def test_every_number_of_a_half_type(dtype, scale):
    """With infinities, NaN and subnormal numbers, alone and in sums that must be rounded."""
    every = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(dtype)
    x = torch.zeros(2, 1, 2, 2**17, dtype=dtype)
    x[:, 0, 0, ::2] = every
    x[1] = x[1] * scale
    x[1, 0, 0, 1::2] = every[torch.randperm(2**16)] * scale
    x[1, 0, 1, ::2] = every[torch.randperm(2**16)] * scale
    bands = bands_like(x)
    cpu.transform(x, bands, inverse=False)
    assert_same(bands, reference.haar_dwt(x))


@pytest.fixture
def _four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def transform_again(x, bands, expected):
    cpu.transform(x, bands, inverse=False)
    sys.exit(
        0 if np.array_equal(bands.numpy(), expected.numpy()) else 1
    )  # PyTorch itself hangs in a forked child


@pytest.mark.usefixtures("_four_threads")
def test_a_forked_child_computes_too():
    x = torch.randn(1, 4, 40, 40, 40)
    expected = bands_like(x)
    cpu.transform(x, expected, inverse=False)  # by threads that the child will not have
    child = multiprocessing.get_context("fork").Process(
        target=transform_again, args=(x, bands_like(x), expected)
    )
    child.start()
    child.join(60)
    child.kill()
    child.join()
    assert child.exitcode == 0
