"""Servers as processes that end with the test that started them."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

SECONDS = 60


@contextmanager
def running(
    command: Sequence[str | Path], ports: Sequence[int], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; it begins when the server listens on all its ports."""
    with log.open("ab") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            for port in ports:
                _wait(process, port, log)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    said = log.read_text(encoding="utf-8", errors="replace")
    raise AssertionError(f"{process.args} does not listen on port {port}:\n{said[-2000:]}")
