"""Shapes and tensors for the tests of the Haar transform."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from medkit.ops.haar import haar_dwt

TYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
SHAPES = [(2, 3, 4, 6), (1, 2, 5, 7), (2, 3, 4, 6, 8), (1, 2, 5, 6, 7), (1, 1, 1, 1, 1)]


@st.composite
def shapes(draw, longest: int = 9) -> tuple[int, ...]:
    """``(B, C, H, W)`` or ``(B, C, D, H, W)``, with odd sizes and sizes of 1."""
    axes = draw(st.integers(2, 3))
    spatial = draw(st.lists(st.integers(1, longest), min_size=axes, max_size=axes))
    return (draw(st.integers(1, 2)), draw(st.integers(1, 3)), *spatial)


@st.composite
def volumes(draw, dtype: torch.dtype = torch.float32, longest: int = 9) -> torch.Tensor:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    return torch.randn(draw(shapes(longest)), generator=generator, dtype=torch.float64).to(dtype)


def bands_like(volume: torch.Tensor) -> torch.Tensor:
    """Memory for the sub-bands, full of NaN."""
    batch, channels, *sizes = volume.shape
    halves = [(size + 1) // 2 for size in sizes]
    return torch.full(
        (batch, channels << len(sizes), *halves), torch.nan, dtype=volume.dtype, device=volume.device
    )


def random_bands(volume: torch.Tensor) -> torch.Tensor:
    return torch.randn_like(haar_dwt(volume))


def assert_same(got: torch.Tensor, expected: torch.Tensor) -> None:
    """To the last bit, save that 0 is -0 and that all NaN are one."""
    torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)
