"""The reference does what the paper and the published package say."""

from __future__ import annotations

import pytest
import torch

from medkit.ops.selective_scan import selective_scan_reference
from tests.ops.selective_scan.cases import arguments, flipped, results


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(shape, dtype=torch.float64)


def plain(u, delta, A, B, C, **options):
    return selective_scan_reference(u, delta, A, B, C, **options)


def test_an_impulse_decays_by_the_exponential_of_the_rate():
    u = torch.zeros(1, 1, 6, dtype=torch.float64)
    u[..., 1] = 3.0
    y = plain(u, 0.5 * ones(1, 1, 6), -2.0 * ones(1, 1), 5.0 * ones(1, 1, 6), 7.0 * ones(1, 1, 6))
    since = torch.arange(6.0, dtype=torch.float64) - 1
    expected = torch.where(since >= 0, 7 * torch.exp(-2 * 0.5 * since) * 0.5 * 5 * 3, 0.0)
    torch.testing.assert_close(y[0, 0], expected, rtol=1e-14, atol=0)


def test_without_decay_it_is_a_sum():
    u = torch.randn(2, 3, 9, dtype=torch.float64)
    y, last = plain(u, ones(2, 3, 9), 0 * ones(3, 2), ones(2, 2, 9), ones(2, 2, 9), return_last_state=True)
    torch.testing.assert_close(y, 2 * u.cumsum(-1))
    torch.testing.assert_close(last, u.sum(-1, keepdim=True).expand(2, 3, 2))


def test_states_add_up_by_what_reads_them():
    given = arguments(2, 3, 5, states=4, dtype=torch.float64)
    whole = selective_scan_reference(**{**given, "D": None, "z": None})
    parts = []
    for n in range(4):
        one = {**given, "D": None, "z": None, "A": given["A"][:, n : n + 1]}
        one |= {name: given[name][:, :, n : n + 1] for name in ("B", "C", "initial_state")}
        parts.append(selective_scan_reference(**one))
    torch.testing.assert_close(sum(parts), whole)


def test_skip_gate_bias_and_softplus():
    given = arguments(2, 3, 5, dtype=torch.float64)
    bare = {**given, "D": None, "z": None, "delta_bias": None}
    bare["delta"] = torch.log1p(torch.exp(given["delta"] + given["delta_bias"][:, None]))
    y = selective_scan_reference(**bare) + given["D"][:, None] * given["u"]
    expected = y * given["z"] / (1 + torch.exp(-given["z"]))
    torch.testing.assert_close(selective_scan_reference(**given, delta_softplus=True), expected)


def test_softplus_of_a_large_step_is_the_step():
    given = arguments(1, 2, 3, without=("delta_bias",))
    given["delta"] = given["delta"] + 30
    assert torch.equal(
        selective_scan_reference(**given, delta_softplus=True), selective_scan_reference(**given)
    )


def test_groups_of_channels_share_their_projections():
    given = arguments(2, 6, 5, groups=2, dtype=torch.float64)
    spread = {**given, **{name: given[name].repeat_interleave(3, dim=1) for name in ("B", "C")}}
    assert torch.equal(selective_scan_reference(**given), selective_scan_reference(**spread))
    for half in range(2):
        own = slice(3 * half, 3 * half + 3)
        part = {name: given[name][:, own] for name in ("u", "delta", "z", "initial_state")}
        part |= {name: given[name][own] for name in ("A", "D", "delta_bias")}
        part |= {name: given[name][:, half] for name in ("B", "C")}
        torch.testing.assert_close(
            selective_scan_reference(**part), selective_scan_reference(**given)[:, own]
        )


@pytest.mark.parametrize("name", ["B", "C"])
def test_projections_that_stay_the_same(name):
    given = arguments(2, 3, 5, dtype=torch.float64)
    constant = torch.randn(3, 4, dtype=torch.float64)
    everywhere = constant[None, :, :, None].expand(2, 3, 4, 5)
    expected = selective_scan_reference(**{**given, name: everywhere})
    assert torch.equal(selective_scan_reference(**{**given, name: constant}), expected)


def test_reverse_is_the_scan_of_what_was_flipped():
    given = arguments(2, 3, 7, dtype=torch.float64)
    found = results(selective_scan_reference, given, reverse=True)
    y, last = selective_scan_reference(**flipped(given), return_last_state=True)
    torch.testing.assert_close(found["out"].flip(-1), y)
    torch.testing.assert_close(found["last_state"], last)


@pytest.mark.parametrize("reverse", [False, True])
def test_two_halves_with_the_state_handed_over_are_the_whole(reverse):
    given = arguments(2, 3, 9, dtype=torch.float64)
    halves = [slice(0, 4), slice(4, 9)]
    state, outputs = given["initial_state"], {}
    for half in reversed(halves) if reverse else halves:
        part = {
            name: x[..., half] if name in ("u", "delta", "B", "C", "z") else x for name, x in given.items()
        }
        outputs[half.start], state = selective_scan_reference(
            **{**part, "initial_state": state}, return_last_state=True, reverse=reverse
        )
    y, last = selective_scan_reference(**given, return_last_state=True, reverse=reverse)
    torch.testing.assert_close(torch.cat([outputs[half.start] for half in halves], -1), y)
    torch.testing.assert_close(state, last)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_computed_in_float32_and_rounded_once(dtype):
    given = arguments(2, 3, 50, dtype=dtype)
    y, last = selective_scan_reference(**given, return_last_state=True)
    wide, wide_last = selective_scan_reference(
        **{name: x.float() for name, x in given.items()}, return_last_state=True
    )
    assert torch.equal(y, wide.to(dtype))
    assert torch.equal(last, wide_last)


@pytest.mark.parametrize("softplus", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients(softplus, reverse):
    given = arguments(2, 2, 4, states=2, groups=2, dtype=torch.float64)
    names = list(given)

    def call(*tensors):
        return selective_scan_reference(
            **dict(zip(names, tensors, strict=True)),
            delta_softplus=softplus,
            reverse=reverse,
            return_last_state=True,
        )

    tensors = [x.requires_grad_() for x in given.values()]
    assert torch.autograd.gradcheck(call, tensors)
    assert torch.autograd.gradgradcheck(call, tensors)
