"""The compiled kernels give what the reference gives, with every instruction set and any number of threads.

While they run, uninitialised memory is full of NaN, their results and their scratch.
"""

from __future__ import annotations

import itertools
import math
import os
import signal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medkit.ops import native
from medkit.ops.selective_scan import chunked, cpu
from medkit.ops.selective_scan.inputs import Inputs
from tests.ops.selective_scan.cases import (
    ALONG_TIME,
    HALF_TYPES,
    TYPES,
    arguments,
    assert_close,
    assert_same,
    drawn_arguments,
    flipped,
    kernel_results,
    reference_results,
)

pytestmark = pytest.mark.usefixtures("poisoned")
GENERIC = 0
PLAIN = {"delta_softplus": False, "reverse": False}
OPTIONS = [
    {"delta_softplus": softplus, "reverse": reverse}
    for softplus, reverse in itertools.product([False, True], repeat=2)
]


@pytest.fixture(scope="module", autouse=True)
def _kernels_are_there():
    assert cpu.is_available(), (
        "the kernels are not compiled: run `pip install -e .` where there is a C compiler"
    )


def levels() -> range:
    """The instruction sets of this processor."""
    return range(cpu._level() + 1) if cpu.is_available() else range(1)


@pytest.fixture
def use(monkeypatch):
    """Set the instruction set and the number of threads."""

    def set_both(level: int | None = None, threads: int | None = None) -> None:
        if level is not None:
            monkeypatch.setattr(cpu, "_level", lambda: level)
        if threads is not None:
            monkeypatch.setattr(native, "thread_count", lambda: threads)

    return set_both


def check(drawn, options, times=1.0) -> None:
    assert_close(kernel_results(cpu, drawn, **options), reference_results(drawn, **options), drawn, times)


@pytest.mark.parametrize("level", levels())
@given(case=drawn_arguments(longest=100), threads=st.integers(1, 5))
def test_results_are_those_of_the_reference(level, case, threads):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "_level", lambda: level)
        patch.setattr(native, "thread_count", lambda: threads)
        check(*case)


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("options", OPTIONS)
def test_all_arguments_in_each_type(use, level, dtype, options):
    use(level=level)
    check(arguments(2, 48, 77, states=16, groups=2, dtype=dtype), options)


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 192])
@pytest.mark.parametrize("reverse", [False, True])
def test_lengths_around_those_of_vectors_and_tiles(use, level, length, reverse):
    use(level=level)
    check(arguments(1, 17, length, states=5), {"delta_softplus": True, "reverse": reverse})


@pytest.mark.parametrize("states", [1, 2, 3, 4, 6, 9, 16, 31, 64])
def test_numbers_of_states(states):
    check(arguments(1, 20, 70, states=states), PLAIN)


@pytest.mark.parametrize("options", OPTIONS)
def test_sequences_of_more_than_one_span(use, options):
    use(threads=3)
    check(arguments(1, 16, 1100, states=3, without=("z",)), options)


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("reverse", [False, True])
def test_a_very_long_sequence(use, level, reverse):
    use(level=level)
    drawn = arguments(1, 2, 200_003, states=3, without=("z",))
    options = {"delta_softplus": False, "reverse": reverse}
    exact = {name: None if x is None else x.double() for name, x in drawn.items()}
    expected = kernel_results(chunked, exact, **options)
    assert_close(kernel_results(cpu, drawn, **options), expected, drawn, times=10)  # sums of so many steps
    np.testing.assert_allclose(expected["last_state"][0], last_state_by_numpy(exact, reverse), rtol=1e-9)


def last_state_by_numpy(exact, reverse):
    u, delta, A, B, bias, state = (
        exact[name].numpy() for name in ("u", "delta", "A", "B", "delta_bias", "initial_state")
    )
    step = delta[0] + bias[:, None]
    decays = np.exp(step.T[:, :, None] * A)
    pushed = (step * u[0]).T[:, :, None] * B[0, 0].T[:, None]
    moving = state[0]
    for l in reversed(range(len(decays))) if reverse else range(len(decays)):  # noqa: E741
        moving = decays[l] * moving + pushed[l]
    return moving


def decays(exponents: torch.Tensor) -> torch.Tensor:
    """The exponential as the kernel computes it: what one step of size 1 leaves of a state of 1."""
    rates = exponents.view(-1, 1)
    sequence, projection = torch.zeros(1, len(rates), 1), torch.zeros(1, 1, 1, 1)
    state = torch.ones(1, len(rates), 1)
    inputs = Inputs(sequence, sequence + 1, rates, projection, projection, initial_state=state)
    return cpu.forward(inputs, False, False, False)[1].flatten()


@pytest.mark.parametrize("level", levels())
def test_the_exponential_over_its_whole_range(use, level):
    use(level=level)
    x = torch.cat([torch.linspace(-87.3, 88.7, 400_000), torch.linspace(-1, 1, 200_000)])
    found, expected = decays(x).double(), torch.exp(x.double())
    # The argument is multiplied by log2(e), which is rounded, and so is the product.
    bound = 2.5e-7 + x.abs().double() * 2.0**-23
    assert ((found / expected - 1).abs() <= bound).all()


@pytest.mark.parametrize("level", levels())
def test_the_exponential_near_zero_has_the_right_slope(use, level):
    use(level=level)
    x = -torch.logspace(-9, -1.5, 100_000)
    found, expected = decays(x).double() - 1, torch.expm1(x.double())
    assert ((found - expected).abs() <= 2.0**-25 * 1.01 + 7e-7 * x.abs().double()).all()
    assert (decays(torch.zeros(3)) == 1).all()


@pytest.mark.parametrize("level", levels())
def test_the_exponential_of_large_numbers(use, level):
    use(level=level)
    tiny = decays(-torch.cat([torch.linspace(87.4, 200, 10_000), torch.logspace(2, 30, 10_000)]))
    assert (tiny >= 0).all()
    assert (tiny <= 2.0**-126).all()
    assert (decays(-torch.logspace(2.1, 30, 1000)) == 0).all()
    assert decays(torch.logspace(2, 30, 1000)).isposinf().all()
    assert decays(torch.tensor([math.nan])).isnan().all()


@pytest.mark.parametrize("softplus", [False, True])
@pytest.mark.parametrize("size", [1e2, 1e4, 1e8])
def test_large_steps_forget_and_give_no_nan(softplus, size):
    drawn = arguments(2, 16, 70, states=16, without=("delta_bias",))
    drawn["delta"] = drawn["delta"] * size
    check(drawn, {"delta_softplus": softplus, "reverse": False})


@pytest.mark.parametrize("level", levels())
def test_softplus_and_its_slope_over_their_range(use, level):
    use(level=level)
    delta = torch.cat([torch.linspace(-86, 40, 100_000), torch.linspace(-1, 1, 10_000)]).view(1, -1, 1)
    drawn = arguments(1, delta.shape[1], 1, states=1, without=("D", "z", "delta_bias", "initial_state"))
    drawn |= {"delta": delta, "u": torch.ones_like(delta)}
    drawn |= {"B": torch.ones(1, 1, 1, 1), "C": torch.zeros(1, 1, 1, 1)}  # so that nothing cancels
    found = kernel_results(cpu, drawn, delta_softplus=True, reverse=False)
    expected = reference_results(drawn, delta_softplus=True, reverse=False)
    share = 1e-6 + delta.abs() * 2.0**-23  # of the exponential's argument, as above
    for name in ("last_state", "delta"):
        bound = share * expected[name].abs() + torch.finfo(torch.float32).smallest_normal * 2.0**-22
        assert ((found[name] - expected[name]).abs() <= bound).all(), name


def test_a_step_of_zero_changes_nothing():
    drawn = arguments(1, 16, 50_000, states=4, without=("delta_bias", "z", "D"))
    drawn["delta"].zero_()
    last = kernel_results(cpu, drawn, **PLAIN)["last_state"]
    assert torch.equal(last, drawn["initial_state"])


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("shape", [(1, 16, 2000), (1, 40, 700), (2, 96, 300), (3, 5, 900)])
@pytest.mark.parametrize("without", [(), ("z",)])
def test_every_number_of_threads_gives_the_same_bits(use, level, shape, without):
    drawn = arguments(*shape, states=6, groups=1, without=without)
    use(level=level, threads=1)
    expected = kernel_results(cpu, drawn, delta_softplus=True, reverse=False)
    for threads in (2, 3, 4, 7, 16):
        use(threads=threads)
        assert_same(kernel_results(cpu, drawn, delta_softplus=True, reverse=False), expected)


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("length", [1, 13, 64, 200])
@pytest.mark.parametrize("dtype", TYPES)
def test_reverse_is_the_scan_of_what_was_flipped(use, level, length, dtype):
    use(level=level)
    drawn = arguments(2, 24, length, states=5, groups=2, dtype=dtype)
    turned = {name: x if x is None else x.contiguous() for name, x in flipped(drawn).items()}
    grad_out, grad_last = torch.randn(2, 24, length).to(dtype), torch.randn(2, 24, 5)
    both = []
    for tensors, grad, reverse in ((drawn, grad_out, True), (turned, grad_out.flip(-1).contiguous(), False)):
        inputs = Inputs(**tensors)
        out, last, states = cpu.forward(inputs, True, reverse, True)
        gradients = cpu.backward(grad, grad_last, inputs, states, True, reverse)
        both.append({"out": out, "last_state": last, **gradients._asdict()})
    assert_same(flipped(both[0]), both[1])


@pytest.mark.parametrize("cut", [1, 63, 64, 100])
def test_two_parts_with_the_state_handed_over_are_the_whole(cut):
    drawn = arguments(1, 20, 170, states=5)
    whole, last, _ = cpu.forward(Inputs(**drawn), True, False, False)
    outputs, state = [], drawn["initial_state"]
    for part in (slice(0, cut), slice(cut, 170)):
        here = {name: x[..., part].contiguous() for name, x in drawn.items() if name in ALONG_TIME}
        given = {**drawn, **here, "initial_state": state}
        out, state, _ = cpu.forward(Inputs(**given), True, False, False)
        outputs.append(out)
    assert torch.equal(torch.cat(outputs, -1), whole)
    assert torch.equal(state, last)


@pytest.mark.parametrize("dtype", TYPES)
def test_memory_that_is_not_aligned(dtype):
    drawn = arguments(1, 18, 70, states=4, dtype=dtype)
    for name, x in drawn.items():
        moved = torch.empty(x.numel() + 1, dtype=x.dtype)[1:].view(x.shape)
        drawn[name] = moved.copy_(x)
    check(drawn, PLAIN)


def passed_through(u: torch.Tensor, D: torch.Tensor) -> torch.Tensor:
    """``D u`` by the kernel, beside states that stay zero."""
    projection = torch.zeros(1, 1, 1, u.shape[2], dtype=u.dtype)
    A = -torch.ones(u.shape[1], 1)
    inputs = Inputs(u, torch.zeros_like(u), A, projection, projection, D)
    return cpu.forward(inputs, False, False, False)[0]


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_results_are_rounded_to_nearest_even(use, level, dtype):
    use(level=level)
    factor = torch.randn(16)
    u = torch.randn(1, 16, 5000).mul(torch.logspace(-9, 4, 5000)).to(dtype)
    assert torch.equal(passed_through(u, factor), (u.float() * factor[:, None]).to(dtype))


def test_a_forked_child_computes_too():
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    drawn = arguments(1, 64, 500, states=16)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        torch.randn(1 << 20).exp()
        expected = kernel_results(cpu, drawn, **PLAIN)  # by threads that the child will not have
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            torch.use_deterministic_algorithms(False)  # to fill memory PyTorch would use threads
            out = cpu.forward(Inputs(**drawn), False, False, False)[0]
            os._exit(0 if np.array_equal(out.numpy(), expected["out"].numpy()) else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        torch.set_num_threads(before)


def test_nothing_without_compiled_kernels(monkeypatch):
    monkeypatch.setattr(native, "library", lambda: None)
    assert not cpu.is_available()
    with pytest.raises(RuntimeError, match="expected compiled kernels, got"):
        cpu._library.__wrapped__()


@pytest.mark.parametrize("level", levels())
def test_gradients_of_weights_keep_their_digits_over_a_long_sequence(use, level):
    use(level=level)
    drawn = arguments(1, 16, 65_536, without=("z", "initial_state"))
    for name in ("u", "delta", "B", "C", "D"):  # so that nothing cancels
        drawn[name] = torch.full_like(drawn[name], 0.1 if name == "delta" else 1.0)
    drawn["A"] = torch.full_like(drawn["A"], -0.5)
    exact = {name: None if x is None else x.double() for name, x in drawn.items()}
    found, expected = (gradients_of_sum(cpu, Inputs(**drawn)), gradients_of_sum(chunked, Inputs(**exact)))
    for name in ("A", "D", "delta_bias"):
        got, wanted = getattr(found, name).double(), getattr(expected, name)
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=0, msg=name)


def gradients_of_sum(kernels, inputs: Inputs) -> Inputs:
    """By the sum of the output."""
    states = kernels.forward(inputs, False, False, True)[2]
    return kernels.backward(torch.ones_like(inputs.u), None, inputs, states, False, False)


@pytest.mark.parametrize("level", levels())
def test_zeros_have_the_same_sign_with_every_number_of_threads(use, level):
    use(level=level)
    drawn = arguments(1, 16, 2000, states=16, without=("z", "initial_state"))
    drawn |= {"u": torch.zeros_like(drawn["u"]), "C": -drawn["C"].abs(), "D": -drawn["D"].abs()}
    signs = []
    for threads in (1, 4):
        use(threads=threads)
        signs.append(cpu.forward(Inputs(**drawn), False, False, False)[0].signbit())
    assert torch.equal(*signs)


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_no_number_of_a_half_type_is_lost(use, level, dtype):
    use(level=level)
    u = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(dtype).view(1, 16, -1)
    out = passed_through(u, torch.ones(16))
    assert torch.equal(out[u.isfinite()], u[u.isfinite()])
    assert out[~u.isfinite()].isnan().all()  # infinity times a step of zero is none of the numbers either


NANS = torch.tensor([0x7FC00000, 0x7FC00001, 0x7F800001, 0x7FFFFFFF, -1], dtype=torch.int32).view(
    torch.float32
)


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("number", range(len(NANS)))
def test_a_nan_stays_one(use, level, dtype, number):
    use(level=level)
    nan = NANS[number].expand(16).contiguous()
    ones = torch.ones(1, 16, 16, dtype=dtype)
    assert passed_through(ones, nan).isnan().all()
    projection = ones[:, None, :1]
    inputs = Inputs(ones, ones, nan[:, None], projection, projection)
    assert cpu.forward(inputs, False, False, False)[0].isnan().all()
