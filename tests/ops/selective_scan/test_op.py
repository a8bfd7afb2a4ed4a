"""The operator: what it takes and refuses, that every kernel behind it gives the same, and PyTorch's machinery."""

from __future__ import annotations

import functools
import inspect
import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from medkit.ops import native
from medkit.ops.selective_scan import (
    chunked,
    cpu,
    op,
    selective_scan,
    selective_scan_fn,
)
from tests.ops.selective_scan.cases import (
    ALONG_TIME,
    HALF_TYPES,
    NAMES,
    TYPES,
    arguments,
    assert_close,
    assert_same,
    flipped,
    incoming,
    reference_results,
    results,
)


@pytest.fixture
def without_kernels(monkeypatch):
    """As if medkit had been installed without a compiler."""
    monkeypatch.setattr(native, "library", lambda: None)


LENGTHS = [128, 256, 372, 512, 1024, 1134, 2048, 4096]
FEATURES = list(itertools.product([1, 2], *[[False, True]] * 6))


@pytest.mark.parametrize(
    ("length", "feature"),
    [
        (length, FEATURES[(29 * i + 41 * k) % len(FEATURES)])
        for i, length in enumerate(LENGTHS)
        for k in range(3)
    ],
)
def test_the_features_of_the_published_package_at_its_lengths(length, feature):
    groups, varies_B, varies_C, has_D, has_z, has_bias, softplus = feature
    absent = [name for name, there in (("D", has_D), ("z", has_z), ("delta_bias", has_bias)) if not there]
    given = arguments(2, 4, length, states=8, groups=groups, without=(*absent, "initial_state"))
    for name, varies in (("B", varies_B), ("C", varies_C)):
        given[name] = given[name] if varies else torch.randn(4, 8)
    found = results(selective_scan, given, delta_softplus=softplus)
    assert_close(found, reference_results(given, delta_softplus=softplus), given, times=2)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("dtype", [*TYPES, torch.float64])
@pytest.mark.parametrize("reverse", [False, True])
def test_types(dtype, reverse):
    given = arguments(2, 24, 70, groups=2, dtype=dtype)
    options = {"delta_softplus": True, "reverse": reverse}
    assert_close(results(selective_scan, given, **options), reference_results(given, **options), given)


@pytest.mark.usefixtures("poisoned", "without_kernels")
@pytest.mark.parametrize("dtype", TYPES)
def test_without_a_compiler_pytorch_computes_the_same(dtype):
    given = arguments(2, 24, 70, groups=2, dtype=dtype)
    assert op._kernels(given["u"]) is chunked
    options = {"delta_softplus": True, "reverse": True}
    assert_close(results(selective_scan, given, **options), reference_results(given, **options), given)


@pytest.mark.parametrize("axes", [2, 3, 4])
@pytest.mark.parametrize("name", ["B", "C"])
def test_forms_of_projections(name, axes):
    given = arguments(2, 6, 20)
    given[name] = torch.randn(6, 4) if axes == 2 else given[name][:, 0] if axes == 3 else given[name]
    assert given[name].ndim == axes
    assert_close(results(selective_scan, given), reference_results(given), given)


def test_any_strides():
    given = arguments(2, 6, 20, groups=2)
    strided = {}
    for name, x in given.items():
        wide = torch.stack([torch.full_like(x, torch.nan), x], -1)
        strided[name] = wide[..., 1] if name != "u" else x.transpose(0, 2).contiguous().transpose(0, 2)
        assert not strided[name].is_contiguous()
    assert_same(results(selective_scan, strided), results(selective_scan, given))
    row = given["u"][:1, :1].expand(2, 6, 20)
    expanded, copied = ({**given, "u": x} for x in (row, row.contiguous()))
    assert torch.equal(selective_scan(**expanded), selective_scan(**copied))


@pytest.mark.parametrize(
    ("of_u", "of_B"), [(torch.bfloat16, torch.float32), (torch.float32, torch.float16), HALF_TYPES]
)
def test_mixed_types_are_computed_in_the_widest(of_u, of_B):
    given = arguments(2, 6, 20, dtype=of_u)
    given["B"] = given["B"].to(of_B)
    found = results(selective_scan, given)
    assert {name: x.dtype for name, x in found.items() if name in NAMES} == {
        name: x.dtype for name, x in given.items()
    }
    wide = results(selective_scan, {name: x.float() for name, x in given.items()}, incoming(given))
    assert torch.equal(found["out"], wide["out"].to(of_u))
    assert torch.equal(found["last_state"], wide["last_state"])
    assert torch.equal(found["B"], wide["B"].to(of_B))


@pytest.mark.parametrize("name", ["delta", "B", "C", "z"])
def test_each_takes_part_in_the_choice_of_the_type(name):
    given = arguments(2, 6, 20, dtype=torch.bfloat16)
    given[name] = given[name].float() + 1e-4
    wide = selective_scan(**{key: x.float() for key, x in given.items()})
    assert torch.equal(selective_scan(**given), wide.bfloat16())


@pytest.mark.parametrize("name", NAMES)
def test_one_double_makes_all_double(name):
    given = arguments(1, 3, 9)
    given[name] = given[name].double()
    out, last = selective_scan(**given, return_last_state=True)
    exact = selective_scan(**{key: x.double() for key, x in given.items()})
    assert out.dtype == given["u"].dtype
    assert last.dtype == torch.float64
    assert torch.equal(out, exact.to(out.dtype))


def test_projections_of_groups_that_do_not_divide_one_another():
    given = arguments(2, 12, 20, groups=2)
    given["C"] = arguments(2, 12, 20, groups=3)["C"]
    assert_close(results(selective_scan, given), reference_results(given), given)


@pytest.mark.parametrize("dtype", TYPES)
def test_the_kernel_serves_each_type(dtype):
    assert op._kernels(torch.empty(1, 1, 1, dtype=dtype)) is cpu


def test_backward_uses_the_states_that_forward_kept(monkeypatch):
    calls, forward = [], cpu.forward
    monkeypatch.setattr(cpu, "forward", lambda *given: calls.append(given[-1]) or forward(*given))
    results(selective_scan, arguments(1, 6, 70))
    assert calls == [True]


def test_only_what_is_asked_for_gets_a_gradient():
    given = arguments(1, 3, 9)
    expected = results(selective_scan, given)
    for name in ("A", "initial_state"):
        leaf = given[name].clone().requires_grad_()
        out, last = selective_scan(**{**given, name: leaf}, return_last_state=True)
        grad_out, grad_last = incoming(given)
        torch.autograd.backward([out, last], [grad_out, grad_last])
        assert torch.equal(leaf.grad, expected[name])
    last = selective_scan(**{**given, "A": given["A"].clone().requires_grad_()}, return_last_state=True)[1]
    last.sum().backward()  # the output has no gradient


def test_the_drop_in_has_the_package_s_order_of_arguments():
    assert list(inspect.signature(selective_scan_fn).parameters) == [
        *("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "delta_softplus", "return_last_state"),
    ]
    given = arguments(1, 3, 9, without=("initial_state",))
    positional = [given[name] for name in NAMES[:8]]
    expected = selective_scan(**given, delta_softplus=True, return_last_state=True)
    found = selective_scan_fn(*positional, True, True)
    assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))
    assert torch.equal(selective_scan_fn(*positional, True), expected[0])


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("u", torch.zeros(2, 6), ValueError, r"expected u of \(batch, channels, length\).* got \(2, 6\)"),
        ("u", torch.zeros(2, 6, 0), ValueError, r"none of them 0, got \(2, 6, 0\)"),
        ("delta", torch.zeros(2, 6, 8), ValueError, r"expected delta of \(2, 6, 9\).* got \(2, 6, 8\)"),
        ("z", torch.zeros(2, 5, 9), ValueError, r"expected z of \(2, 6, 9\).* got \(2, 5, 9\)"),
        ("A", torch.zeros(5, 4), ValueError, r"expected A of \(6, N\).* got \(5, 4\)"),
        ("A", torch.zeros(6, 0), ValueError, r"expected A of \(6, N\).* got \(6, 0\)"),
        (
            "B",
            torch.zeros(2, 4, 4, 9),
            ValueError,
            r"expected B .*groups a divisor of 6.* got \(2, 4, 4, 9\)",
        ),
        ("C", torch.zeros(2, 3, 9), ValueError, r"expected C .*N = 4.* got \(2, 3, 9\)"),
        ("C", torch.zeros(9), ValueError, r"expected C .* got \(9,\)"),
        ("B", torch.zeros(2, 0, 4, 9), ValueError, r"expected B .* got \(2, 0, 4, 9\)"),
        ("D", torch.zeros(6, 1), ValueError, r"expected D of \(6,\).* got \(6, 1\)"),
        ("delta_bias", torch.zeros(5), ValueError, r"expected delta_bias of \(6,\).* got \(5,\)"),
        (
            "initial_state",
            torch.zeros(6, 4),
            ValueError,
            r"expected initial_state of \(2, 6, 4\).* got \(6, 4\)",
        ),
        (
            "A",
            torch.zeros(6, 4, dtype=torch.complex64),
            TypeError,
            "expected A as one of .* got torch.complex64",
        ),
        ("u", torch.zeros(2, 6, 9, dtype=torch.int32), TypeError, "expected u as one of .* got torch.int32"),
        (
            "B",
            torch.zeros(2, 9, 4),
            ValueError,
            r"expected B .* got \(2, 9, 4\); the length comes last: pass B.mT",
        ),
        ("A", None, TypeError, "expected A as a tensor, got NoneType; convert it first"),
        ("u", np.zeros((2, 6, 9)), TypeError, "expected u as a tensor, got ndarray; convert it first"),
        ("D", 1.0, TypeError, "expected D as a tensor, got float; convert it first"),
        ("C", torch.zeros(2, 4, 9, device="meta"), ValueError, "expected C on cpu, as u is, got meta; move"),
    ],
)
def test_refusals_say_what_was_expected(name, value, error, message):
    given = arguments(2, 6, 9)
    with pytest.raises(error, match=message) as caught:
        selective_scan(**{**given, name: value})
    assert "\n" not in str(caught.value)


def test_there_is_no_second_derivative():
    given = arguments(1, 3, 9)
    u, delta = (given[name].requires_grad_() for name in ("u", "delta"))
    first = torch.autograd.grad(selective_scan(**given).sum(), u, create_graph=True)[0]
    with pytest.raises(NotImplementedError, match="expected one derivative of a selective scan"):
        torch.autograd.grad(first.sum(), delta)


@pytest.mark.parametrize("name", NAMES)
def test_forward_mode_is_refused_and_not_zero(name):
    given = arguments(1, 3, 9)
    with torch.autograd.forward_ad.dual_level():
        given[name] = torch.autograd.forward_ad.make_dual(given[name], torch.ones_like(given[name]))
        with pytest.raises(
            NotImplementedError, match=r"expected reverse-mode differentiation.*selective_scan_reference"
        ):
            selective_scan(**given)


@pytest.mark.parametrize("reverse", [False, True])
def test_gradients(reverse):
    given = arguments(2, 2, 5, states=2, groups=2, dtype=torch.float64)
    call = functools.partial(_by_position, delta_softplus=True, reverse=reverse, return_last_state=True)
    assert torch.autograd.gradcheck(call, [x.requires_grad_() for x in given.values()])


def _by_position(*tensors, **options):
    return selective_scan(**dict(zip(NAMES, tensors, strict=True)), **options)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("without", [(), ("D", "z", "delta_bias", "initial_state")])
@pytest.mark.parametrize("needs_gradient", [False, True])
def test_the_operator_is_well_formed(keep, without, needs_gradient):
    given = arguments(2, 6, 70, without=without)
    tensors = [None if x is None else x.requires_grad_(needs_gradient) for x in given.values()]
    torch.library.opcheck(torch.ops.medkit.selective_scan.default, (*tensors, True, False, keep))


@pytest.mark.usefixtures("without_kernels")
def test_the_operator_is_well_formed_without_kernels():
    tensors = [x.requires_grad_() for x in arguments(2, 6, 30).values()]
    torch.library.opcheck(torch.ops.medkit.selective_scan.default, (*tensors, True, False, True))


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """``torch.compile`` with a cache of its own, which knows nothing of earlier versions of the operator."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    yield functools.partial(torch.compile, fullgraph=True)
    torch._dynamo.reset()


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_it_gives_the_same_bits(compiled, backend):
    call = compiled(_scan_and_more, backend=backend)
    for length in (30, 41, 70):  # the second length makes it an open one
        given = arguments(2, 6, length)
        assert_same(results(call, given), results(_scan_and_more, given))


def _scan_and_more(**given):
    options = {"delta_softplus": True, "reverse": True, "return_last_state": True}
    given.pop("return_last_state")
    out, last = selective_scan(**given, **options)
    return 2 * out, last


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        given = arguments(2, 6, 9)
        self.A, self.D, self.delta_bias = (
            torch.nn.Parameter(given[name]) for name in ("A", "D", "delta_bias")
        )

    def forward(self, u, delta, B, C, z):
        return selective_scan(u, delta, self.A, B, C, self.D, z, self.delta_bias, True, reverse=True)


def test_it_can_be_exported():
    given, other = (tuple(arguments(2, 6, length)[name] for name in ALONG_TIME) for length in (70, 33))
    length = torch.export.Dim("length", min=2)
    shapes = tuple({x.ndim - 1: length} for x in given)
    program = torch.export.export(Layer(), given, dynamic_shapes=shapes)
    names = [str(node.target) for node in program.graph.nodes]
    assert "medkit.selective_scan.default" in names
    for inputs in (given, other):
        assert torch.equal(program.module()(*inputs), Layer()(*inputs))


def test_an_exported_scan_keeps_no_states():
    given = tuple(arguments(2, 6, 9)[name] for name in ALONG_TIME)
    graph = torch.export.export(Layer(), given).graph
    (scan,) = [node for node in graph.nodes if str(node.target) == "medkit.selective_scan.default"]
    assert scan.args[-1] is False


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kernels", [True, False])
def test_autocast_changes_nothing(request, dtype, kernels):
    if not kernels:
        request.getfixturevalue("without_kernels")
    given = arguments(2, 6, 70, dtype=dtype)
    expected = results(selective_scan, given)
    with torch.autocast("cpu", torch.bfloat16):
        found = results(selective_scan, given)
    assert found["last_state"].dtype == torch.float32
    assert_same(found, expected)


def test_under_no_grad_no_states_are_kept(monkeypatch):
    kept = []
    forward = cpu.forward
    monkeypatch.setattr(cpu, "forward", lambda *given: kept.append(given[-1]) or forward(*given))
    given = arguments(1, 6, 70)
    selective_scan(**given)
    given["A"].requires_grad_()
    with torch.no_grad():
        selective_scan(**given)
    selective_scan(**given)
    assert kept == [False, False, True]


def test_reverse_is_the_scan_of_what_was_flipped():
    given = arguments(2, 20, 130, states=5)
    found = selective_scan(**given, reverse=True, delta_softplus=True)
    assert torch.equal(found.flip(-1), selective_scan(**flipped(given), delta_softplus=True))


class Scans(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return results(selective_scan, arguments(1, 64, 300, states=16, seed=index))


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_of_a_data_loader(start):
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        expected = [Scans()[i] for i in range(3)]  # by threads that a forked child will not have
        loader = DataLoader(
            Scans(), batch_size=None, num_workers=1, multiprocessing_context=start, timeout=100
        )
        for found, there in zip(loader, expected, strict=True):
            assert_same(found, there)
    finally:
        torch.set_num_threads(before)


def test_it_needs_neither_a_compiler_nor_triton_nor_onnx():
    hidden = "\n".join(
        [
            "import sys",
            "for name in ('triton', 'onnx', 'onnxruntime', 'onnxscript', 'monai', 'medkit.ops._native'):",
            "    sys.modules[name] = None",
            "import torch",
            "from medkit.ops.selective_scan import selective_scan, selective_scan_reference",
            "u = torch.randn(1, 3, 9, requires_grad=True)",
            "rest = torch.rand(1, 3, 9), -torch.rand(3, 2), torch.randn(1, 2, 9), torch.randn(1, 2, 9)",
            "found, expected = selective_scan(u, *rest), selective_scan_reference(u, *rest)",
            "torch.testing.assert_close(found, expected)",
            "found.sum().backward()",
        ]
    )
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("without a C compiler") == 1
