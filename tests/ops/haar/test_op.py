"""The operators: an isometry with its adjoint for gradient, in all modes and formats of PyTorch."""

from __future__ import annotations

import subprocess
import sys

import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor
from torch.utils.data import DataLoader, Dataset

from medkit.ops.haar import cpu, haar_dwt, haar_idwt, reference
from tests.ops.haar.cases import TYPES, assert_same, shapes, volumes

SHAPES = [(2, 3, 4, 6), (1, 2, 5, 7), (2, 3, 4, 6, 8), (1, 2, 5, 6, 7), (1, 1, 1, 1, 1)]


@pytest.fixture(params=["kernel", "reference"])
def path(request, monkeypatch):
    """Each test that asks for it runs with the compiled kernel and without."""
    monkeypatch.setattr(cpu, "is_available", lambda: request.param == "kernel")


@pytest.fixture
def _poisoned_memory():
    """Deterministic mode, in which PyTorch fills new memory with NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def random_bands(x: torch.Tensor) -> torch.Tensor:
    return torch.randn_like(haar_dwt(x))


class RoundTrip(torch.nn.Module):
    def forward(self, x):
        bands = haar_dwt(x)
        return bands, haar_idwt(1.5 * bands, x.shape[2:])


# --- what it computes -------------------------------------------------------------------------------------


@given(volumes())
def test_inverse_is_exact_and_energy_is_kept(x):
    bands = haar_dwt(x)
    assert (haar_idwt(bands, x.shape[2:]) - x).abs().max() < 1e-6 * max(1, float(x.abs().max()))
    torch.testing.assert_close(bands.square().sum(), x.square().sum(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("axes", [2, 3])
def test_bands_come_one_after_the_other_each_with_all_channels(axes):
    x = torch.arange(1.0, 4.0).view(1, 3, *[1] * axes).expand(2, 3, *[4] * axes)
    bands = haar_dwt(x).unflatten(1, (-1, 3))
    low = x[(..., *[slice(2)] * axes)] * 2 ** (axes / 2)
    torch.testing.assert_close(bands[:, 0], low)
    assert bands.shape[1] == 2**axes
    assert not bands[:, 1:].any()


@pytest.mark.parametrize("axes", [2, 3])
def test_each_axis_has_its_letter(axes):
    for axis in range(axes):
        x = torch.tensor([1.0, -1.0]).view(-1, *[1] * (axes - 1 - axis)).expand(1, 1, *[2] * axes)
        high = "".join("H" if other == axis else "L" for other in range(axes))
        names = {2: "LL LH HL HH", 3: "LLL LLH LHL LHH HLL HLH HHL HHH"}[axes].split()
        assert haar_dwt(x).flatten().nonzero().flatten().tolist() == [names.index(high)]


def test_size_is_twice_that_of_the_bands_when_left_out():
    bands = torch.randn(1, 8, 2, 3, 4)
    assert_same(haar_idwt(bands), haar_idwt(bands, (4, 6, 8)))


@given(shapes(), st.integers(0, 2**32))
def test_one_is_the_adjoint_of_the_other_at_odd_sizes_too(shape, seed):
    torch.manual_seed(seed)
    x = torch.randn(shape, dtype=torch.float64)
    y = random_bands(x)
    size = x.shape[2:]
    torch.testing.assert_close((haar_dwt(x) * y).sum(), (x * haar_idwt(y, size)).sum(), rtol=0, atol=1e-11)


@pytest.mark.usefixtures("path", "_poisoned_memory")
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_and_gradients_are_those_of_the_reference(shape, dtype):
    x = torch.randn(shape).to(dtype).requires_grad_()
    bands, expected = haar_dwt(x), reference.haar_dwt(x)
    y = torch.randn(bands.shape).to(dtype).requires_grad_()
    volume, expected_volume = haar_idwt(y, shape[2:]), reference.haar_idwt(y, shape[2:])
    assert_same(bands, expected)
    assert_same(volume, expected_volume)
    assert bands.dtype == volume.dtype == dtype
    assert bands.is_contiguous()
    assert volume.is_contiguous()
    wide = x.detach().to(torch.promote_types(dtype, torch.float32)).requires_grad_()
    ours, theirs = torch.autograd.grad(bands, x, y), torch.autograd.grad(reference.haar_dwt(wide), wide, y)
    tolerance = {"rtol": 2 * torch.finfo(dtype).eps, "atol": 4 * torch.finfo(dtype).eps}
    torch.testing.assert_close(ours[0].to(wide.dtype), theirs[0], **tolerance)
    wide = y.detach().to(wide.dtype).requires_grad_()
    ours = torch.autograd.grad(volume, y, x)
    theirs = torch.autograd.grad(reference.haar_idwt(wide, shape[2:]), wide, x)
    torch.testing.assert_close(ours[0].to(wide.dtype), theirs[0], **tolerance)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_of_first_and_second_order(shape):
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    y = random_bands(x).requires_grad_()
    for function, argument in ((haar_dwt, x), (lambda y: haar_idwt(y, shape[2:]), y)):
        assert torch.autograd.gradcheck(function, argument)
        assert torch.autograd.gradgradcheck(function, argument)


# --- the tensors that it takes ----------------------------------------------------------------------------


STRIDED = {
    "channels last": lambda x: x.to(memory_format=torch.channels_last_3d),
    "transposed": lambda x: x.transpose(2, 4),
    "every other": lambda x: x[:, :, ::2, :, ::2],
    "cropped": lambda x: x[..., 1:, 1:, 1:],
    "expanded": lambda x: x[:, :1, :1].expand(2, 8, 5, 6, 8),
    "flipped in sign": lambda x: torch.complex(x, x).conj().imag,
}


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("name", STRIDED)
def test_any_strides(name):
    x = STRIDED[name](torch.randn(2, 8, 4, 6, 8))
    assert not x.is_contiguous() or x.is_neg()
    dense = x.clone(memory_format=torch.contiguous_format)
    assert_same(haar_dwt(x), haar_dwt(dense))
    assert_same(haar_idwt(x), haar_idwt(dense))


def test_gradient_of_a_sum_that_has_no_strides():
    x = torch.randn(1, 2, 4, 4, 4, requires_grad=True)
    haar_dwt(x).sum().backward()
    torch.testing.assert_close(x.grad, haar_idwt(torch.ones(1, 16, 2, 2, 2)))


@pytest.mark.usefixtures("path")
def test_no_samples_or_no_channels():
    assert haar_dwt(torch.ones(0, 3, 4, 5)).shape == (0, 12, 2, 3)
    assert haar_dwt(torch.ones(2, 0, 4, 4, 4)).shape == (2, 0, 2, 2, 2)
    assert haar_idwt(torch.ones(0, 12, 2, 3), (4, 5)).shape == (0, 3, 4, 5)
    assert haar_idwt(torch.ones(2, 0, 2, 2, 2)).shape == (2, 0, 4, 4, 4)


def test_tensors_of_monai():
    x = MetaTensor(torch.randn(1, 2, 4, 6, 8))
    assert_same(haar_idwt(haar_dwt(x)).as_tensor(), haar_idwt(haar_dwt(x.as_tensor())))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 4), r"expected \(B, C, H, W\) or .* got .* \(4, 4\)"),
        ((1, 1, 2, 2, 2, 2), r"expected \(B, C, H, W\) or .* got .* \(1, 1, 2, 2, 2, 2\)"),
        ((1, 1, 0, 4), r"expected elements .* got shape \(1, 1, 0, 4\)"),
        ((1, 8, 4, 0, 4), r"expected elements .* got shape \(1, 8, 4, 0, 4\)"),
    ],
)
@pytest.mark.parametrize("function", [haar_dwt, haar_idwt])
def test_other_shapes_are_refused(function, shape, message):
    with pytest.raises(ValueError, match=message):
        function(torch.ones(shape))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_other_types_are_refused(dtype):
    with pytest.raises(TypeError, match=rf"expected torch.float32, .* got {dtype}; convert"):
        haar_dwt(torch.ones(1, 1, 4, 4, dtype=dtype))


def test_channels_that_are_no_bands_are_refused():
    with pytest.raises(ValueError, match=r"expected 8 sub-bands .* got 12 channels"):
        haar_idwt(torch.ones(1, 12, 2, 2, 2))


@pytest.mark.parametrize("size", [(4,), (4, 4, 4), (2, 4), (5, 4), (4, -4)])
def test_sizes_of_other_volumes_are_refused(size):
    with pytest.raises(
        ValueError, match=r"expected a size of which \(2, 2\) is the half, rounded up, got \("
    ):
        haar_idwt(torch.ones(1, 4, 2, 2), size)


# --- PyTorch's modes --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES[:4])
def test_operators_keep_the_contract_of_pytorch(shape, dtype):
    x = torch.randn(shape).to(dtype).requires_grad_()
    bands = random_bands(x).requires_grad_()
    torch.library.opcheck(torch.ops.medkit.haar_dwt.default, (x,))
    torch.library.opcheck(torch.ops.medkit.haar_idwt.default, (bands, list(shape[2:])))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_into_one_graph(dynamic):
    compiled = torch.compile(RoundTrip(), fullgraph=True, dynamic=dynamic)
    for shape in ((2, 3, 8, 10, 12), (1, 3, 5, 6, 7)):
        x = torch.randn(shape, requires_grad=True)
        weights = torch.randn(shape)
        gradients = []
        for network in (compiled, RoundTrip()):
            outputs = network(x)
            gradients += torch.autograd.grad(outputs[1].square(), x, weights)
        for ours, theirs in zip(compiled(x), RoundTrip()(x), strict=True):
            assert_same(ours, theirs)
        torch.testing.assert_close(*gradients)


def test_exported_for_any_size():
    dynamic = dict.fromkeys((0, 2, 3, 4), torch.export.Dim.DYNAMIC)
    program = torch.export.export(RoundTrip(), (torch.randn(2, 3, 8, 10, 12),), dynamic_shapes=[dynamic])
    assert "medkit.haar_dwt" in str(program.graph)
    x = torch.randn(3, 3, 5, 6, 9)
    for ours, theirs in zip(program.module()(x), RoundTrip()(x), strict=True):
        assert_same(ours, theirs)


def run_onnx(file, x):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for ours, theirs in zip(session.run(None, {"x": x.numpy()}), RoundTrip()(x), strict=True):
        assert_same(torch.from_numpy(ours), theirs)


@pytest.mark.parametrize("shape", [(1, 2, 5, 7), (1, 2, 5, 6, 7)])
def test_onnx(tmp_path, shape):
    x = torch.randn(shape)
    torch.onnx.export(
        RoundTrip().eval(), (x,), tmp_path / "a.onnx", input_names=["x"], dynamo=True, verbose=False
    )
    run_onnx(tmp_path / "a.onnx", x)


def test_onnx_for_any_size(tmp_path):
    dynamic = {axis: torch.export.Dim(f"axis_{axis}", min=3) for axis in (2, 3, 4)}
    torch.onnx.export(
        RoundTrip().eval(), (torch.randn(1, 2, 8, 10, 12),), tmp_path / "a.onnx",
        input_names=["x"], dynamic_shapes=[dynamic], dynamo=True, verbose=False,
    )  # fmt: skip
    run_onnx(tmp_path / "a.onnx", torch.randn(1, 2, 5, 6, 7))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_autocast_leaves_the_type_alone(dtype):
    x = torch.randn(1, 2, 4, 5, 6).to(dtype)
    expected = RoundTrip()(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for ours, theirs in zip(RoundTrip()(x), expected, strict=True):
            assert_same(ours, theirs)


class Bands(Dataset):
    """Sub-bands of volumes that are large enough for several threads."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        x = torch.full((1, 2, 40, 41, 42), float(index + 1))
        return haar_dwt(x)[0]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_of_a_data_loader(start):
    haar_dwt(torch.ones(1, 2, 40, 41, 42))
    loader = DataLoader(Bands(), num_workers=1, multiprocessing_context=start, timeout=120)
    for index, bands in enumerate(loader):
        assert_same(bands[0], Bands()[index])


# --- without what is optional -----------------------------------------------------------------------------


def test_imports_and_computes_without_triton_and_without_the_library():
    code = (
        "import sys; sys.modules['triton'] = None; sys.modules['medkit.ops._native'] = None\n"
        "import torch; from medkit.ops.haar import haar_dwt, haar_idwt\n"
        "x = torch.randn(1, 2, 5, 6, 7); y = haar_idwt(haar_dwt(x), x.shape[2:])\n"
        "assert (x - y).abs().max() < 1e-6; assert 'medkit.ops.haar.gpu' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_traced_there_and_back():
    x = torch.rand(1, 2, 5, 6, 7)

    def there_and_back(x):
        return haar_idwt(2 * haar_dwt(x), x.shape[2:])

    traced = torch.jit.trace(there_and_back, x)
    assert torch.equal(traced(x + 1), there_and_back(x + 1))
