from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.batch.service.steps import bundle_with_poison

REPOSITORY = Path(__file__).parents[3]
PATIENCE = 900.0  # seconds after which something hangs, on however slow a machine


@pytest.fixture(scope="session")
def bundle_root(tmp_path_factory):
    return bundle_with_poison(tmp_path_factory.mktemp("bundle"))


@contextmanager
def started(*arguments: str, log: Path) -> Iterator[subprocess.Popen]:
    """A process of Python with the tests on its path; it is ended with the block."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], stdout=file, stderr=file, cwd=log.parent, env=environment
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen, log: Path) -> None:
    """Wait until something is so; fail where the process ends before, or it takes for ever."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, f"ended with {process.returncode}: {log.read_text()[-3000:]}"
        assert time.monotonic() < until, log.read_text()[-3000:]
        time.sleep(0.05)
