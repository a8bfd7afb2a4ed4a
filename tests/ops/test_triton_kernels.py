"""Triton's kernels compute on NVIDIA's cards where Triton is installed, and a line in the log says where it is not."""

from __future__ import annotations

import logging

import pytest
import torch

from medkit.ops import triton_kernels
from medkit.ops.haar import op as haar
from medkit.ops.selective_scan import chunked
from medkit.ops.selective_scan import op as selective_scan


@pytest.fixture
def on_gpu():
    """A tensor on a GPU that need not be there."""
    triton_kernels._is_installed.cache_clear()
    with torch._subclasses.FakeTensorMode():
        yield torch.empty(1, 3, 9, device="cuda")
    triton_kernels._is_installed.cache_clear()


def test_they_serve_a_gpu(on_gpu):
    assert triton_kernels.serve(on_gpu)
    assert haar._kernel(on_gpu).__module__ == "medkit.ops.haar.gpu"
    assert selective_scan._kernels(on_gpu).__name__ == "medkit.ops.selective_scan.gpu"


def test_without_triton_pytorch_serves_and_one_line_says_so(on_gpu, monkeypatch, caplog):
    monkeypatch.setattr(triton_kernels, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        assert haar._kernel(on_gpu) is None
        assert selective_scan._kernels(on_gpu) is chunked
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["triton is not installed"]


def test_an_amd_gpu_is_served_by_pytorch(on_gpu, monkeypatch):
    monkeypatch.setattr(torch.version, "hip", "7.0")
    assert haar._kernel(on_gpu) is None
    assert selective_scan._kernels(on_gpu) is chunked


def test_a_cpu_is_not_their_place():
    assert not triton_kernels.serve(torch.empty(1))
