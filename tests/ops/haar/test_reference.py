"""The plain form is the wavelet transform of PyWavelets, and turns back."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given

from medkit.ops.haar import reference
from tests.ops.haar.cases import TYPES, volumes


@given(volumes(torch.float64))
def test_every_band_is_that_of_pywavelets(x):
    axes = x.ndim - 2
    theirs = pywt.dwtn(x.numpy(), "haar", mode="zero", axes=range(2, x.ndim))
    bands = reference.haar_dwt(x).unflatten(1, (-1, x.shape[1]))
    names = [
        "".join(letters) for letters in product("ad", repeat=axes)
    ]  # a: low, d: high, a letter for each axis
    assert bands.shape[1] == len(names) == len(theirs)
    for k, name in enumerate(names):
        np.testing.assert_allclose(bands[:, k].numpy(), theirs[name], rtol=0, atol=1e-14)


@given(volumes(torch.float64))
def test_inverse_is_that_of_pywavelets(x):
    axes = x.ndim - 2
    bands = reference.haar_dwt(x) * torch.linspace(1, 2, x.shape[1] << axes, dtype=x.dtype).view(
        1, -1, *[1] * axes
    )
    parts = bands.unflatten(1, (-1, x.shape[1])).numpy()
    names = ["".join(letters) for letters in product("ad", repeat=axes)]
    named = {name: parts[:, k] for k, name in enumerate(names)}
    theirs = pywt.idwtn(named, "haar", mode="zero", axes=range(2, x.ndim))
    ours = reference.haar_idwt(bands, x.shape[2:]).numpy()
    np.testing.assert_allclose(ours, theirs[(..., *map(slice, x.shape[2:]))], rtol=0, atol=1e-14)


@given(volumes(torch.float64))
def test_inverse_restores_and_energy_stays(x):
    bands = reference.haar_dwt(x)
    torch.testing.assert_close(reference.haar_idwt(bands, x.shape[2:]), x, rtol=0, atol=1e-14)
    torch.testing.assert_close(bands.square().sum(), x.square().sum(), rtol=1e-13, atol=0)


@pytest.mark.parametrize("dtype", TYPES)
def test_halves_are_computed_in_float32_and_rounded_once(dtype):
    x = torch.randn(2, 3, 5, 6, 7).to(dtype)
    wide = torch.promote_types(dtype, torch.float32)
    bands = reference.haar_dwt(x)
    assert bands.dtype == dtype
    torch.testing.assert_close(bands, reference.haar_dwt(x.to(wide)).to(dtype), rtol=0, atol=0)
    back = reference.haar_idwt(bands, (5, 6, 7))
    assert back.dtype == dtype
    torch.testing.assert_close(back, reference.haar_idwt(bands.to(wide), (5, 6, 7)).to(dtype), rtol=0, atol=0)
