"""What a process keeps of the memory that it frees, and what Dask's nanny had it give back."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from medkit import allocator
from medkit.allocator import give_back_freed_memory, keep_freed_memory

LIBRARY, VERSION = platform.libc_ver()
pytestmark = pytest.mark.skipif(
    LIBRARY != "glibc" or tuple(map(int, VERSION.split("."))) < (2, 35),
    reason="only glibc 2.35 has the setting",
)

BLOCK, LARGE = 4 << 20, 120 << 20
NANNY = {"MALLOC_TRIM_THRESHOLD_": "65536"}


class Mallinfo(ctypes.Structure):
    """Of which the fourth counts blocks that are mapped for themselves."""

    _fields_ = [(f"number_{at}", ctypes.c_int) for at in range(10)]


def mapped(block_bytes: int = BLOCK) -> bool:
    """Whether a block is mapped for itself, and so given back to the system as soon as it is freed."""
    libc = ctypes.CDLL(None)
    libc.mallinfo.restype, libc.malloc.restype = Mallinfo, ctypes.c_void_p
    before = libc.mallinfo().number_3
    block = libc.malloc(ctypes.c_size_t(block_bytes))
    after = libc.mallinfo().number_3
    libc.free(ctypes.c_void_p(block))
    return after > before


def said_in_a_process(what: str, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[1]), **variables}
    code = f"from medkit.allocator import *; from tests.test_allocator import *; print({what})"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "True True False"),
        (NANNY, "True True False"),
        (NANNY | {"MALLOC_MMAP_THRESHOLD_": "131072"}, "True False True"),
        ({"MALLOC_TRIM_THRESHOLD_": "131072"}, "True False True"),
    ],
    ids=["by nobody", "by the nanny", "and another by somebody", "by somebody"],
)
def test_large_blocks_are_kept_unless_somebody_set_something(variables, said):
    assert said_in_a_process("mapped(LARGE), keep_freed_memory(), mapped(LARGE)", **variables) == said


def test_up_to_a_size():
    assert said_in_a_process("keep_freed_memory(), mapped(200 << 20), mapped(300 << 20)") == "True False True"


def test_a_version_that_takes_less_keeps_as_much_as_it_takes(monkeypatch):
    asked = []

    def mallopt(what, value):
        asked.append((what, value))
        return int(what == -1 or value <= 32 << 20)

    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    assert keep_freed_memory()
    assert asked == [(-3, 256 << 20), (-3, 32 << 20), (-1, 64 << 20)]


def test_a_library_without_the_setting_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    assert not keep_freed_memory()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def with_a_hole() -> int:
    """A block of 120 MiB, used and freed, below one that stays: what it takes of main memory."""
    libc, before = ctypes.CDLL(None), resident()
    libc.malloc.restype = ctypes.c_void_p
    block, stays = (ctypes.c_void_p(libc.malloc(ctypes.c_size_t(size))) for size in (LARGE, BLOCK))
    ctypes.memset(block, 1, LARGE)
    ctypes.memset(stays, 1, BLOCK)
    libc.free(block)
    return resident() - before


def test_free_pages_between_others_are_given_back():
    kept = "keep_freed_memory() and with_a_hole() > LARGE // 2"
    before = "(before := resident())"
    assert (
        said_in_a_process(f"{kept}, {before} and give_back_freed_memory(), before - resident() > LARGE // 2")
        == "True True True"
    )


def test_it_is_given_back_at_every_hundredth_call(monkeypatch):
    give_back = Mock()
    monkeypatch.setattr(allocator, "_calls", count(1))
    monkeypatch.setattr(allocator, "give_back_freed_memory", give_back)
    asked = []
    for _ in range(200):
        allocator.give_back_now_and_then()
        asked.append(give_back.call_count)
    assert (asked[98], asked[99], asked[198], asked[199]) == (0, 1, 1, 2)


def test_a_library_that_cannot_give_back_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    assert not give_back_freed_memory()
