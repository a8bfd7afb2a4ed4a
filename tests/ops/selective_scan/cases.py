"""Arguments for the tests of the selective scan, what the reference makes of them, and comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from hypothesis import strategies as st

from medkit.ops.selective_scan import selective_scan_reference
from medkit.ops.selective_scan.inputs import Inputs

NAMES = Inputs._fields
OPTIONAL = NAMES[5:]
ALONG_TIME = ("u", "delta", "B", "C", "z")
HALF_TYPES = [torch.bfloat16, torch.float16]
TYPES = [torch.float32, *HALF_TYPES]
# Largest difference as a share of the largest value, to the reference in float64 on the same arguments. Half types
# are rounded once, to 8 and 11 bits. Sums of numbers about 1 may cancel: a largest value counts as LEAST at least, and
# where the sum is over all steps as LEAST for each step, added up as noise is. The gradient by delta_bias is the sum of
# those by delta over all steps, of which each may be many times LEAST: it counts as these, added up so.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 4e-3, torch.float16: 5e-4}
LEAST = 0.5
OVER_STEPS = ("A", "D")

Arguments = dict[str, torch.Tensor | None]


def arguments(
    batch: int,
    channels: int,
    length: int,
    *,
    states: int = 4,
    groups: int = 1,
    dtype: torch.dtype = torch.float32,
    without: tuple[str, ...] = (),
    seed: int = 0,
) -> Arguments:
    """Random arguments; the weights are of float32 at least. Decays go from slow to fast."""
    noise = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=noise)

    wide = torch.promote_types(dtype, torch.float32)
    sequence, projection = (batch, channels, length), (batch, groups, states, length)
    drawn = {
        "u": normal(*sequence).to(dtype),
        "delta": (0.2 * normal(*sequence).abs()).to(dtype),
        "A": -torch.exp(1.5 * normal(channels, states)).to(wide),
        "B": normal(*projection).to(dtype),
        "C": normal(*projection).to(dtype),
        "D": normal(channels).to(wide),
        "z": normal(*sequence).to(dtype),
        "delta_bias": (0.1 * normal(channels).abs()).to(wide),
        "initial_state": normal(batch, channels, states).to(wide),
    }
    return {name: None if name in without else x for name, x in drawn.items()}


@st.composite
def drawn_arguments(draw: Any, longest: int = 150) -> tuple[Arguments, dict[str, bool]]:
    """Arguments of any shape, and the options ``delta_softplus`` and ``reverse``."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    drawn = arguments(
        draw(st.integers(1, 3)),
        groups * draw(st.sampled_from([1, 2, 5, 8, 15, 16, 17, 33])),
        draw(st.integers(1, longest)),
        states=draw(st.sampled_from([1, 2, 3, 4, 5, 7, 16, 18])),
        groups=groups,
        dtype=draw(st.sampled_from(TYPES)),
        without=tuple(draw(st.sets(st.sampled_from(OPTIONAL)))),
        seed=draw(st.integers(0, 2**32)),
    )
    return drawn, {"delta_softplus": draw(st.booleans()), "reverse": draw(st.booleans())}


def incoming(given: Arguments, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients by the output and by the last state."""
    noise = torch.Generator().manual_seed(seed)
    u, A = given["u"], given["A"]
    grad_out = torch.randn(u.shape, generator=noise).to(u.dtype)
    return grad_out, torch.randn((u.shape[0], *A.shape), generator=noise).to(A.dtype)


def results(
    function: Callable[..., Any],
    given: Arguments,
    gradients: tuple[torch.Tensor, torch.Tensor] | None = None,
    **options: Any,
) -> dict[str, torch.Tensor]:
    """Outputs, and the gradient by every argument, by its name."""
    leaves = {name: None if x is None else x.detach().requires_grad_() for name, x in given.items()}
    out, last_state = function(**leaves, return_last_state=True, **options)
    grad_out, grad_last_state = gradients or incoming(given)
    wanted = {name: x for name, x in leaves.items() if x is not None}
    found = torch.autograd.grad(
        [out, last_state],
        list(wanted.values()),
        [grad_out.to(out.dtype), grad_last_state.to(last_state.dtype)],
    )
    named = {"out": out, "last_state": last_state, **dict(zip(wanted, found, strict=True))}
    return {name: x.detach() for name, x in named.items()}


def kernel_results(
    kernels: Any, given: Arguments, *, delta_softplus: bool, reverse: bool
) -> dict[str, torch.Tensor]:
    """The same by the functions of a module of kernels."""
    inputs = Inputs(**given)
    options = (delta_softplus, reverse)
    out, last_state, states = kernels.forward(inputs, *options, True)
    plain = kernels.forward(inputs, *options, False)
    assert_same({"out": plain[0], "last_state": plain[1]}, {"out": out, "last_state": last_state})
    gradients = kernels.backward(*incoming(given), inputs, states, *options)
    found = {"out": out, "last_state": last_state, **gradients._asdict()}
    assert all((found[name] is None) == (given[name] is None) for name in NAMES)
    return {name: x for name, x in found.items() if x is not None}


def reference_results(given: Arguments, **options: Any) -> dict[str, torch.Tensor]:
    """What the reference gives in float64."""
    exact = {name: None if x is None else x.double() for name, x in given.items()}
    return results(selective_scan_reference, exact, incoming(given), **options)


def assert_close(
    found: Mapping[str, torch.Tensor],
    expected: Mapping[str, torch.Tensor],
    given: Arguments,
    times: float = 1.0,
) -> None:
    """Every result of the type of its argument, and close to that in float64 as its type allows.

    Args:
        found: results by name.
        expected: the same in float64.
        given: arguments.
        times: by how much the tolerance grows.
    """
    assert found.keys() == expected.keys()
    for name, x in found.items():
        like = given["u"] if name == "out" else given["A"] if name == "last_state" else given[name]
        assert x.dtype == like.dtype, name
        assert x.shape == expected[name].shape, name
        tolerance = times * (TOLERANCE[x.dtype] + (TOLERANCE[torch.float32] if x.dtype in HALF_TYPES else 0))
        least = LEAST * (given["u"][:, 0].numel() ** 0.5 if name in OVER_STEPS else 1)
        if name == "delta_bias":
            least = max(least, float(expected["delta"].square().sum((0, 2)).sqrt().max()))
        scale = expected[name].abs().max().clamp_min(least)
        torch.testing.assert_close(
            x.double() / scale,
            expected[name] / scale,
            rtol=0,
            atol=tolerance,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def assert_same(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    """The same bits, save that 0 is -0."""
    assert found.keys() == expected.keys()
    for name, x in found.items():
        assert torch.equal(x, expected[name]), name


def flipped(given: Arguments) -> Arguments:
    """All that goes along the time the other way round."""
    return {
        name: x.flip(-1) if name in (*ALONG_TIME, "out") and x is not None else x for name, x in given.items()
    }
