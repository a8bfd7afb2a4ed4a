"""The compiled library: found or done without, loaded without harm, and how many threads it may use."""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from medkit.ops import native


@pytest.fixture
def path() -> str:
    spec = importlib.util.find_spec("medkit.ops._native")
    assert spec is not None, (
        "the kernels are not compiled: run `pip install -e .` where there is a C compiler"
    )
    return spec.origin


@pytest.fixture
def found_at(monkeypatch):
    """Say where the library lies."""

    def set_origin(origin: str | None) -> None:
        spec = None if origin is None else SimpleNamespace(origin=origin)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)

    return set_origin


def load(caplog) -> tuple[object, list[str]]:
    """The library as a new process finds it, and what it says."""
    with caplog.at_level(logging.WARNING, logger=native.__name__):
        return native.library.__wrapped__(), [record.getMessage() for record in caplog.records]


def test_it_is_found_and_loaded_once(path, caplog):
    found, said = load(caplog)
    assert found._name == path
    assert said == []
    assert native.library() is native.library()


def test_without_it_one_line_says_so(found_at, caplog):
    found_at(None)
    found, said = load(caplog)
    assert found is None
    assert said == ["medkit was installed without a C compiler: PyTorch computes the same, slower"]


def test_what_does_not_load_is_done_without(found_at, caplog, tmp_path):
    broken = tmp_path / "_native.so"
    broken.write_bytes(b"no library")
    found_at(str(broken))
    found, said = load(caplog)
    assert found is None
    assert len(said) == 1
    assert said[0].startswith("medkit's kernels do not load (")


def test_a_foreign_library_is_done_without(found_at, caplog):
    import _ctypes  # any shared library that is not ours

    found_at(_ctypes.__file__)
    found, said = load(caplog)
    assert found is None
    assert len(said) == 1
    assert "medkit_kernels_version" in said[0]


def test_another_version_is_done_without(path, monkeypatch, caplog):
    monkeypatch.setattr(native, "_VERSION", native._VERSION + 1)
    found, said = load(caplog)
    assert found is None
    assert said == ["medkit's kernels are of another version: PyTorch computes the same, slower; reinstall"]


def test_it_loads_without_pytorch_and_leaves_small_numbers_alone(path):
    program = "\n".join(
        [
            "import ctypes, sys",
            f"library = ctypes.CDLL({path!r})",
            "assert library.medkit_kernels_version() > 0",
            "assert 'torch' not in sys.modules",
            "smallest = float.fromhex('0x1p-1074')",
            "assert smallest * float(len(sys.argv)) > 0",  # a process that flushes to zero finds 0
        ]
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_as_many_threads_as_pytorch():
    before = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            assert native.thread_count() == count
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_one_thread_in_a_forked_child_and_its_children():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        child = os.fork()
        if child == 0:
            grandchild = os.fork()
            if grandchild == 0:
                os._exit(native.thread_count())
            below = os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1])
            os._exit(10 * below + native.thread_count())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 11
        assert native.thread_count() == 3
    finally:
        torch.set_num_threads(before)
