"""The Triton kernels give what the reference gives: on a GPU, and without one through Triton's interpreter.

Triton decides once in a process which of the two it is, so that the tests through the interpreter run in a process
of their own, started by the last test here. While the kernels are called, uninitialised memory is full of NaN, and
an operation that is not deterministic is an error.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from medkit.ops.selective_scan import selective_scan, selective_scan_reference
from medkit.ops.selective_scan.inputs import Inputs
from tests.ops.interpreter import (
    DEVICE,
    INTERPRETED,
    assert_passes_interpreted,
    not_interpreted,
    on_device,
    on_gpu,
    outside_interpreter,
)

NAMES = Inputs._fields
ALONG_TIME = ("u", "delta", "B", "C", "z")
RESULTS = ("out", "last_state", *NAMES)
# Largest difference as a share of the largest value; the interpreter cuts off digits of bfloat16, a GPU rounds.
TOLERANCE = {torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2 if INTERPRETED else 5e-3}
# Multiprocessors that are said to be there decide how the work is divided; with none every channel block goes
# through its tiles in a row.
IN_A_ROW, FEW_AT_ONCE, ALL_AT_ONCE = 0, 1, 10**6


@pytest.fixture
def gpu():
    return pytest.importorskip("medkit.ops.selective_scan.gpu", reason="triton is not installed")


@pytest.fixture
def divide(gpu, monkeypatch):
    """Set the tile and how many multiprocessors are said to be there; the scan over tiles takes two at a time."""
    fills_in_truth = gpu._Work.fills

    def set_division(lanes: int, items: int, processors: int = IN_A_ROW) -> None:
        monkeypatch.setattr(gpu, "_LANES", lanes)
        monkeypatch.setattr(gpu, "_ITEMS", items)
        monkeypatch.setattr(gpu, "_processors", lambda x: max(processors, 1))
        fills = (lambda work, programs: True) if processors == IN_A_ROW else fills_in_truth
        monkeypatch.setattr(gpu._Work, "fills", fills)
        monkeypatch.setattr(gpu, "_CARRY_TILES", 2)
        monkeypatch.setattr(gpu, "_CARRY_STATES", 8)

    return set_division


def arguments(
    batch: int,
    channels: int,
    length: int,
    *,
    groups: int = 1,
    states: int = 2,
    dtype: torch.dtype = torch.float32,
    without: tuple[str, ...] = (),
    softplus: bool = True,
) -> list[torch.Tensor | None]:
    """Fresh arguments up to the initial state, in the order of the kernels."""
    sequence, projection = (batch, channels, length), (batch, groups, states, length)
    values = {
        "u": torch.randn(sequence, device=DEVICE).to(dtype),
        "delta": torch.randn(sequence, device=DEVICE).to(dtype),
        "A": -2 * torch.rand(channels, states, device=DEVICE),
        "B": torch.randn(projection, device=DEVICE).to(dtype),
        "C": torch.randn(projection, device=DEVICE).to(dtype),
        "D": torch.randn(channels, device=DEVICE),
        "z": torch.randn(sequence, device=DEVICE).to(dtype),
        "delta_bias": torch.randn(channels, device=DEVICE),
        "initial_state": torch.randn(batch, channels, states, device=DEVICE),
    }
    if not softplus:  # step sizes are positive
        values["delta"], values["delta_bias"] = values["delta"].abs(), values["delta_bias"].abs()
    return [None if name in without else values[name] for name in NAMES]


def along_time(
    tensors: list[torch.Tensor], change: Callable[[torch.Tensor], torch.Tensor]
) -> list[torch.Tensor]:
    return [change(x) if name in ALONG_TIME else x for name, x in zip(NAMES, tensors, strict=True)]


def expected(tensors, softplus: bool, reverse: bool, grad_out, grad_last_state) -> list[torch.Tensor | None]:
    """Output, last state and gradients of the reference in double precision."""
    exact = [None if x is None else x.detach().double().requires_grad_() for x in tensors]
    u, delta, A, B, C, D, z, delta_bias, initial_state = exact
    out, last_state = selective_scan_reference(
        u, delta, A, B, C, D, z, delta_bias, softplus,
        initial_state=initial_state, return_last_state=True, reverse=reverse,
    )  # fmt: skip
    given = [x for x in exact if x is not None]
    loss = (out * grad_out.double()).sum()
    if grad_last_state is not None:
        loss = loss + (last_state * grad_last_state.double()).sum()
    grads = iter(torch.autograd.grad(loss, given, allow_unused=True, materialize_grads=True))
    return [out, last_state, *(None if x is None else next(grads) for x in exact)]


def computed(
    gpu, tensors, softplus: bool, reverse: bool, grad_out, grad_last_state
) -> list[torch.Tensor | None]:
    """Output, last state and gradients of the kernels, from memory full of NaN."""
    torch.use_deterministic_algorithms(True)
    try:
        out, last_state, kept = gpu.forward(Inputs(*tensors), softplus, reverse, True)
        grads = gpu.backward(grad_out, grad_last_state, Inputs(*tensors), kept, softplus, reverse)
    finally:
        torch.use_deterministic_algorithms(False)
    assert kept.shape == gpu.states_shape(tensors[0], tensors[2])
    return [out, last_state, *grads]


def compare(got: list[torch.Tensor | None], exact: list[torch.Tensor | None], tolerance: float) -> None:
    for name, one, other in zip(RESULTS, got, exact, strict=True):
        if other is None:
            assert one is None, name
            continue
        assert one.shape == other.shape, name
        difference = (one.detach().double() - other.detach()).abs().max()
        assert difference <= tolerance * (1 + other.detach().abs().max()), (name, float(difference))


def check(gpu, tensors, softplus: bool = True, reverse: bool = False, last_state: bool = True) -> None:
    u, A = tensors[0], tensors[2]
    grad_out = torch.randn_like(u, dtype=torch.float32).to(u.dtype)
    grad_last_state = torch.randn(u.shape[0], *A.shape, device=u.device) if last_state else None
    got = computed(gpu, tensors, softplus, reverse, grad_out, grad_last_state)
    assert got[0].dtype == u.dtype
    assert got[1].dtype == torch.float32
    assert [x if x is None else x.dtype for x in got[2:]] == [x if x is None else x.dtype for x in tensors]
    compare(got, expected(tensors, softplus, reverse, grad_out, grad_last_state), TOLERANCE[u.dtype])


@on_device
@pytest.mark.parametrize("dtype", TOLERANCE)
# The examples are small, and to make one smaller takes the interpreter minutes.
@settings(max_examples=3 if INTERPRETED else 40, phases=set(Phase) - {Phase.shrink})
@given(data=st.data())
def test_outputs_and_gradients_are_those_of_the_reference(gpu, divide, dtype, data):
    draw = data.draw
    divide(
        draw(st.sampled_from([2, 4])),
        draw(st.sampled_from([4, 8])),
        draw(st.sampled_from([IN_A_ROW, FEW_AT_ONCE, ALL_AT_ONCE])),
    )
    groups = draw(st.integers(1, 2))
    softplus, reverse, last_state = (draw(st.booleans()) for _ in range(3))
    tensors = arguments(
        draw(st.integers(1, 2)),
        groups * draw(st.integers(1, 9)),
        draw(st.integers(1, 30)),
        groups=groups,
        states=draw(st.integers(1, 3 if INTERPRETED else 20)),
        dtype=dtype,
        without=tuple(draw(st.sets(st.sampled_from(["D", "z", "delta_bias", "initial_state"])))),
        softplus=softplus,
    )
    check(gpu, tensors, softplus, reverse, last_state)


@on_device
@pytest.mark.parametrize("processors", [IN_A_ROW, ALL_AT_ONCE])
@pytest.mark.parametrize(
    ("length", "reverse"),
    [(1, False), (1, True), (7, True), (8, False), (8, True), (9, False), (9, True), (25, True)],
)
def test_around_the_ends_of_tiles(gpu, divide, length, processors, reverse):
    divide(2, 4, processors)
    check(gpu, arguments(1, 3, length, states=1), reverse=reverse)


@on_device
@pytest.mark.parametrize("processors", [IN_A_ROW, ALL_AT_ONCE])
@pytest.mark.parametrize("length", [256, 257, 769])
def test_around_the_ends_of_tiles_as_they_are(gpu, divide, length, processors):
    divide(32, 8, processors)
    check(gpu, arguments(1, 5, length, states=1))


@on_device
@pytest.mark.parametrize(
    ("channels", "length", "processors", "shares", "dtype"),
    [
        (20, 9, ALL_AT_ONCE, 3, torch.float32),
        (20, 48, FEW_AT_ONCE, 2, torch.bfloat16),
        (12, 64, FEW_AT_ONCE, 1, torch.float32),
        (12, 64, FEW_AT_ONCE, 1, torch.bfloat16),
        (130, 5, IN_A_ROW, 9, torch.float32),
    ],
)
def test_programs_share_the_channel_blocks_of_a_sum(
    gpu, divide, monkeypatch, channels, length, processors, shares, dtype
):
    divide(2, 4, processors)
    found, method = [], gpu._Work.shares
    monkeypatch.setattr(gpu._Work, "shares", lambda *args: found.append(method(*args)) or found[-1])
    check(gpu, arguments(1, channels, length, states=1, dtype=dtype, without=("z", "D")))
    assert found == [shares]


@on_device
def test_half_precision_is_rounded_once(gpu, divide):
    """And not where sums are on their way, which would be another number every fourth time."""
    divide(2, 4, FEW_AT_ONCE)
    tensors = arguments(1, 12, 58, states=1, dtype=torch.float16, without=("z",))
    grad_out = torch.randn_like(tensors[0])
    half = computed(gpu, tensors, True, False, grad_out, None)
    single = computed(
        gpu, along_time(tensors, lambda x: x if x is None else x.float()), True, False, grad_out.float(), None
    )
    for name, one, other in zip(RESULTS, half, single, strict=True):
        assert one is None or (one == other.to(one.dtype)).float().mean() > 0.98, name


@on_device
@pytest.mark.parametrize("processors", [IN_A_ROW, ALL_AT_ONCE])
def test_batches_and_groups(gpu, divide, processors):
    divide(2, 4, processors)
    check(gpu, arguments(2, 2 * 3, 20, groups=2))


@on_device
@pytest.mark.parametrize("states", [16, 64])
def test_states(gpu, divide, states):
    divide(2, 4)
    check(gpu, arguments(1, 1, 7, states=states))


@on_device
def test_one_kernel_where_the_machine_is_full_and_three_where_it_is_not(gpu, divide, monkeypatch):
    crossings = []
    carry = gpu._carry
    monkeypatch.setattr(gpu, "_carry", lambda *args, down: crossings.append(down) or carry(*args, down=down))
    tensors = arguments(1, 8, 40, states=1)
    for processors, kernels in ((IN_A_ROW, []), (ALL_AT_ONCE, [False, True])):
        divide(2, 4, processors)
        crossings.clear()
        check(gpu, tensors)
        assert crossings == kernels


@on_device
@pytest.mark.parametrize(("length", "processors"), [(37, IN_A_ROW), (40, ALL_AT_ONCE)])
def test_reverse_is_flip_scan_flip_to_the_last_bit(gpu, divide, length, processors):
    divide(2, 8, processors)
    tensors = arguments(1, 6, length)
    grad_out, grad_last_state = torch.randn_like(tensors[0]), torch.randn(1, 6, 2, device=DEVICE)
    flipped = along_time(tensors, lambda x: x.flip(-1))
    reverse = computed(gpu, tensors, True, True, grad_out, grad_last_state)
    forward = computed(gpu, flipped, True, False, grad_out.flip(-1), grad_last_state)
    for name, one, other in zip(RESULTS, reverse, forward, strict=True):
        assert torch.equal(one, other.flip(-1) if name in ("out", *ALONG_TIME) else other), name


@on_device
@pytest.mark.parametrize("processors", [IN_A_ROW, ALL_AT_ONCE])
def test_two_halves_with_a_carried_state_are_the_whole(gpu, divide, processors):
    divide(2, 8, processors)
    tensors = arguments(1, 5, 61)
    out, last_state, _ = gpu.forward(Inputs(*tensors), True, False, False)
    state = tensors[-1]
    parts = []
    for part in (slice(0, 23), slice(23, None)):
        cut = along_time(tensors, lambda x, part=part: x[..., part].contiguous())
        y, state, kept = gpu.forward(Inputs(*cut[:-1], state), True, False, False)
        assert kept.numel() == 0
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, -1), out, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state, last_state, rtol=1e-5, atol=1e-5)


@on_device
@pytest.mark.parametrize("processors", [IN_A_ROW, ALL_AT_ONCE])
def test_gradients_of_the_last_state_alone(gpu, divide, processors):
    divide(2, 8, processors)
    tensors = arguments(1, 5, 45)
    grad_out, grad_last_state = torch.zeros_like(tensors[0]), torch.randn(1, 5, 2, device=DEVICE)
    got = computed(gpu, tensors, True, False, grad_out, grad_last_state)
    compare(got, expected(tensors, True, False, grad_out, grad_last_state), TOLERANCE[torch.float32])
    assert all(got[2 + NAMES.index(name)].count_nonzero() == 0 for name in ("C", "D", "z"))
    assert got[2 + NAMES.index("B")].count_nonzero() > 0


@on_device
# The power is infinite on its way to a sigmoid of 0.
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("processors", [IN_A_ROW, ALL_AT_ONCE])
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_step_sizes_of_any_size(gpu, divide, scale, processors):
    divide(2, 8, processors)
    tensors = arguments(1, 3, 45)
    tensors[1] *= scale
    check(gpu, tensors)


@on_device
def test_a_large_step_does_not_blur_the_small_ones_that_follow(gpu, divide):
    divide(2, 8, ALL_AT_ONCE)
    tensors = arguments(1, 2, 48, softplus=False, without=("delta_bias",))
    tensors[1] *= 0.01
    tensors[1][..., ::8] = 1e5
    check(gpu, tensors, softplus=False)


@on_device
def test_small_step_sizes_are_as_exact_as_large_ones(gpu, divide):
    divide(2, 8)
    tensors = arguments(1, 1, 16, states=1, without=("D", "z", "delta_bias", "initial_state"))
    for delta in (-16.0, -8.0, -1.0, 0.0, 1.0, 8.0, 30.0):
        tensors[1] = torch.full_like(tensors[1], delta)
        tensors[2] = torch.zeros_like(tensors[2])
        out, _, _ = gpu.forward(Inputs(*tensors), True, False, False)
        exact = expected(tensors, True, False, out, None)[0]
        assert (out - exact).abs().max() <= 3e-6 * exact.abs().max()


@on_gpu
@pytest.mark.parametrize("channels", [20, 2000])
def test_the_same_call_gives_the_same_bits(gpu, channels):
    tensors = arguments(1, channels, 5000, states=16)
    grad_out, grad_last_state = torch.randn_like(tensors[0]), torch.randn(1, channels, 16, device=DEVICE)
    first, second = (computed(gpu, tensors, True, False, grad_out, grad_last_state) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@on_gpu
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    ("batch", "channels", "groups", "length"),
    [
        (1, 64, 1, 4096),
        (2, 96, 2, 372),
        (1, 768, 1, 512),
        (2, 130, 1, 1134),
        (8, 768, 1, 777),
        (1, 3, 1, 9001),
    ],
)
def test_as_it_is_on_a_gpu(gpu, batch, channels, groups, length, dtype, reverse):
    check(gpu, arguments(batch, channels, length, groups=groups, states=16, dtype=dtype), reverse=reverse)


@on_gpu
def test_the_operator_takes_the_kernels(gpu):
    tensors = arguments(2, 6, 900, groups=2, states=5)
    out = selective_scan(*tensors[:-1], True, initial_state=tensors[-1])
    assert torch.equal(out, gpu.forward(Inputs(*tensors), True, False, False)[0])
    tracked = [x.requires_grad_() for x in tensors]
    torch.library.opcheck(torch.ops.medkit.selective_scan.default, (*tracked, True, False, True))


@on_gpu
def test_more_elements_than_32_bits_count(gpu):
    channels, length = 1100, 2_000_000
    tensors = arguments(1, 1, length, states=1, dtype=torch.bfloat16, without=("z", "initial_state"))
    u, delta, A, B, C, D, z, delta_bias, initial_state = tensors
    many = [x.expand(1, channels, -1).contiguous() for x in (u, delta)]
    many += [A.repeat(channels, 1), B, C, D.repeat(channels), z, delta_bias.repeat(channels), initial_state]
    grad_out = torch.randn_like(tensors[0])
    one = computed(gpu, tensors, True, False, grad_out, None)
    all_of_them = computed(gpu, many, True, False, grad_out.expand(1, channels, -1).contiguous(), None)
    torch.testing.assert_close(all_of_them[0][:, -1:], one[0])
    torch.testing.assert_close(all_of_them[2][:, -1:], one[2])


@not_interpreted
@pytest.mark.parametrize(
    ("name", "element"),
    [
        ("summarise_states", "fp32"),
        ("scan", "fp32"),
        ("scan", "bf16"),
        ("summarise_adjoints", "bf16"),
        ("adjoint_scan", "fp32"),
        ("adjoint_scan", "bf16"),
    ],
)
def test_compiles_for_a_gpu_that_is_not_here(gpu, monkeypatch, tmp_path, name, element):
    """The interpreter accepts what the compiler refuses, and both accept what would be slow."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(gpu, name)
    backward = name == "adjoint_scan"
    vector = 4 if element == "fp32" else 8
    tiling = gpu.Tiling(
        32, 8, 1 if backward else 2, 8 if backward else 4, vector, True, 16, True, False, False
    )
    integers = {"length", "channels", "groups", "tiles", "group_blocks", "batches", "shares"}
    of_inputs = {"u", "delta", "B", "C", "z", "out", "grad_out", "du", "ddelta", "dz"}
    types = dict.fromkeys(integers, "i32") | dict.fromkeys(of_inputs, f"*{element}") | {"T": "constexpr"}
    signature = {argument: types.get(argument, "*fp32") for argument in kernel.arg_names}
    place = {argument: (number,) for number, argument in enumerate(kernel.arg_names)}
    pointers = set(kernel.arg_names) - integers - {"T"}
    aligned = {place[argument]: [["tt.divisibility", 16]] for argument in pointers}
    source = ASTSource(kernel, signature, {place["T"]: tiling}, aligned)
    options = {"num_warps": tiling.warps.value, "maxnreg": gpu._REGISTERS}
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert "ld.global.v4.b32" in compiled.asm["ptx"], "16 bytes at a time"
    # Numbers stay in their threads, save where warps add up.
    assert compiled.metadata.shared == 0 or backward


@outside_interpreter
def test_through_the_interpreter():
    assert_passes_interpreted(__file__)
