"""Forward-mode differentiation is refused, where PyTorch would give zero, and nothing else is."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad

from medkit.ops.forward_mode import refuse_tangents
from medkit.ops.haar import haar_dwt, haar_idwt
from medkit.ops.haar import reference as haar_reference


def test_a_tangent_is_refused():
    plain = torch.zeros(2)
    with forward_ad.dual_level():
        refuse_tangents("a sum", "torch.sum", plain, None)
        with pytest.raises(
            NotImplementedError, match=r"differentiation of a sum, got a tangent .* use torch\.sum"
        ):
            refuse_tangents("a sum", "torch.sum", None, plain, forward_ad.make_dual(plain, plain))


def test_what_needs_a_gradient_is_not():
    refuse_tangents("a sum", "torch.sum", torch.zeros(2, requires_grad=True))


@pytest.mark.parametrize("transform", [haar_dwt, haar_idwt])
def test_the_haar_transform_refuses_it_and_its_reference_has_it(transform):
    x, along = torch.rand(1, 4, 6, 6), torch.ones(1, 4, 6, 6)
    with pytest.raises(NotImplementedError, match="a Haar transform"):
        torch.func.jvp(transform, (x,), (along,))
    plain = {
        haar_dwt: haar_reference.haar_dwt,
        haar_idwt: lambda bands: haar_reference.haar_idwt(bands, (12, 12)),
    }[transform]
    tangent = torch.func.jvp(plain, (x,), (along,))[1]
    torch.testing.assert_close(tangent, plain(along))
