"""What Dask's nanny sets for its workers, and that a worker that makes studies keeps the memory that it frees."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys

import pytest

from medkit.batch.cluster.allocator import keep_freed_memory
from tests.batch.service.conftest import REPOSITORY

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")

BLOCK = 4 << 20
NANNY = {"MALLOC_TRIM_THRESHOLD_": "65536"}


class Mallinfo(ctypes.Structure):
    """Of which the fourth counts blocks that are mapped for themselves."""

    _fields_ = [(f"number_{at}", ctypes.c_int) for at in range(10)]


def mapped() -> bool:
    """Whether a block is mapped for itself, and so given back to the system as soon as it is freed."""
    libc = ctypes.CDLL(None)
    libc.mallinfo.restype, libc.malloc.restype = Mallinfo, ctypes.c_void_p
    before = libc.mallinfo().number_3
    block = libc.malloc(ctypes.c_size_t(BLOCK))
    after = libc.mallinfo().number_3
    libc.free(ctypes.c_void_p(block))
    return after > before


def said_in_a_process(**variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    environment |= {"PYTHONPATH": str(REPOSITORY), **variables}
    code = "from tests.batch.cluster.test_allocator import *; print(mapped(), keep_freed_memory(), mapped())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (NANNY, "True True False"),
        (NANNY | {"MALLOC_MMAP_THRESHOLD_": "131072"}, "True False True"),
        ({"MALLOC_TRIM_THRESHOLD_": "131072"}, "True False True"),
    ],
    ids=["by the nanny", "and another by somebody", "by somebody"],
)
def test_what_the_nanny_set_is_undone_and_nothing_else(variables, said):
    assert said_in_a_process(**variables) == said


def test_nothing_is_set_where_nobody_did():
    first, done, _ = said_in_a_process().split()
    assert (first, done) == ("True", "False")  # the first large block; the next follow by themselves


def test_a_worker_is_set_so_by_its_nanny_and_undoes_it(machines, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # as the page says
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    with machines.extra_worker() as worker, machines.client() as client:

        def run(function, *arguments):
            return client.run(function, *arguments, workers=[worker])[worker]

        assert run(os.getenv, "OMP_NUM_THREADS") == "3"
        assert run(os.getenv, "MALLOC_TRIM_THRESHOLD_") == NANNY["MALLOC_TRIM_THRESHOLD_"]
        assert run(mapped)
        assert run(keep_freed_memory)
        assert not run(mapped)
