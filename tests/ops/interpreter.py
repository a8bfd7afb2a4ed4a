"""Triton's kernels on a GPU, or without one through Triton's interpreter, as the process was started."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
on_device = pytest.mark.skipif(
    not INTERPRETED and not torch.cuda.is_available(), reason="needs a GPU or TRITON_INTERPRET=1"
)
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
not_interpreted = pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
outside_interpreter = pytest.mark.skipif(INTERPRETED, reason="this is the process that it starts")


def assert_passes_interpreted(file: str) -> None:
    """The tests of a file pass in a process of their own, in which Triton interprets its kernels."""
    pytest.importorskip("triton", reason="triton is not installed; it comes with the extra `dev`")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout
