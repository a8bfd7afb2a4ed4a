"""The operators in all modes and formats of PyTorch."""

from __future__ import annotations

import onnxruntime
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from medkit.ops.haar import haar_dwt, haar_idwt
from tests.ops.haar.cases import SHAPES, assert_same, random_bands


class RoundTrip(torch.nn.Module):
    def forward(self, x):
        bands = haar_dwt(x)
        return bands, haar_idwt(1.5 * bands, x.shape[2:])


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


def test_traced_there_and_back():
    x = torch.rand(1, 2, 5, 6, 7)

    def there_and_back(x):
        return haar_idwt(2 * haar_dwt(x), x.shape[2:])

    traced = torch.jit.trace(there_and_back, x)
    assert torch.equal(traced(x + 1), there_and_back(x + 1))
    longer = torch.rand(3, 2, 8, 3, 1)
    assert torch.equal(traced(longer), there_and_back(longer))
