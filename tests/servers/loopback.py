"""A network namespace that has nothing but loopback: servers that listen on every address are out of reach there."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers.programs import missing

_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS, _UP_AND_RUNNING = 0x8914, 0x41


class Loopback:
    """A namespace, which lives as long as somebody is in it or this is open."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._file: int | None = None
        # Of a thread that ends at once: what it leaves is its own, the process stays where it is.
        maker = threading.Thread(target=self._make)
        maker.start()
        maker.join()
        if self._file is None:
            missing("a network namespace cannot be made here (it needs root)")

    def _make(self) -> None:
        if self._libc.unshare(_CLONE_NEWNET):
            return
        with socket.socket() as any_socket:
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _UP_AND_RUNNING))
        self._file = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be in it, with all threads and processes that are begun meanwhile."""
        outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            self._enter(self._file)
            yield
        finally:
            self._enter(outside)
            os.close(outside)

    def _enter(self, file: int | None) -> None:
        if self._libc.setns(file, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")

    def close(self) -> None:
        """Let it go."""
        if self._file is not None:
            os.close(self._file)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as any_socket:
        any_socket.bind(("127.0.0.1", 0))
        return int(any_socket.getsockname()[1])
