"""The exported form gives what ours gives, in ONNX Runtime, at any length."""

from __future__ import annotations

import onnxruntime
import pytest
import torch

from medkit.ops.selective_scan import selective_scan
from tests.ops.selective_scan.cases import ALONG_TIME, OPTIONAL, arguments


class Scan(torch.nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.options = options

    def forward(self, given):
        return selective_scan(**given, **self.options, return_last_state=True)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("options", [{"reverse": False, "delta_softplus": True}, {"reverse": True}])
@pytest.mark.parametrize("without", [(), OPTIONAL])
def test_onnx_runtime_gives_the_same(tmp_path, groups, options, without):
    sizes = {"states": 3, "groups": groups, "without": without}
    first, second = (
        {name: x for name, x in arguments(2, 6, length, **sizes).items() if x is not None}
        for length in (20, 47)
    )
    length = torch.export.Dim("length", min=2)
    shapes = {name: {x.ndim - 1: length} if name in ALONG_TIME else None for name, x in first.items()}
    module = Scan(**options).eval()
    program = torch.onnx.export(
        module, kwargs={"given": first}, dynamic_shapes={"given": shapes}, dynamo=True, verbose=False
    )
    assert [node.op_type for node in program.model.graph].count("Scan") == 1
    program.save(tmp_path / "scan.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "scan.onnx", providers=["CPUExecutionProvider"])
    for given in (first, second):
        inputs = [x.numpy() for x in given.values()]
        names = [x.name for x in session.get_inputs()]
        found = session.run(None, dict(zip(names, inputs, strict=True)))
        for x, expected in zip(found, module(given), strict=True):
            torch.testing.assert_close(torch.from_numpy(x), expected, rtol=1e-5, atol=1e-5)


class Layer(torch.nn.Module):
    """As in a network: what the scan gets is computed, and its weights are parameters."""

    def __init__(self):
        super().__init__()
        self.A = torch.nn.Parameter(arguments(1, 4, 1, states=3)["A"])

    def forward(self, u, B):
        return selective_scan(u, u.abs(), self.A * 2, B, B)


def test_a_layer_at_a_batch_of_one_and_one_size(tmp_path):
    given = {name: x for name, x in arguments(1, 4, 9, states=3).items() if name in ("u", "B")}
    program = torch.onnx.export(Layer().eval(), kwargs=given, dynamo=True, verbose=False)
    program.save(tmp_path / "layer.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "layer.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(
        None,
        {x.name: given[name].numpy() for x, name in zip(session.get_inputs(), ("u", "B"), strict=True)},
    )
    torch.testing.assert_close(torch.from_numpy(found), Layer()(**given).detach(), rtol=1e-5, atol=1e-5)


class Projecting(torch.nn.Module):
    """As in Mamba: the steps, B and C come out of a linear layer."""

    def __init__(self):
        super().__init__()
        self.project = torch.nn.Linear(6, 6 + 2 * 3)
        self.A = torch.nn.Parameter(arguments(1, 6, 1, states=3)["A"])

    def forward(self, u):
        delta, B, C = self.project(u.mT).mT.split([6, 3, 3], 1)
        return selective_scan(u, delta, self.A, B, C, delta_softplus=True)


def test_batch_and_length_may_be_dynamic_in_one_export_after_another():
    module = Projecting().eval()
    for axes in ({0: "batch"}, {2: "length"}, {0: "batch", 2: "length"}):
        shapes = ({axis: torch.export.Dim(name) for axis, name in axes.items()},)
        given = arguments(3, 6, 20)["u"]
        program = torch.onnx.export(module, (given,), dynamic_shapes=shapes, dynamo=True, verbose=False)
        session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
        for batch, length in ((3, 20), (5 if 0 in axes else 3, 33 if 2 in axes else 20)):
            u = arguments(batch, 6, length)["u"]
            (found,) = session.run(None, {session.get_inputs()[0].name: u.numpy()})
            torch.testing.assert_close(torch.from_numpy(found), module(u).detach(), rtol=1e-5, atol=1e-5)
