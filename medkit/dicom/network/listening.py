"""Whether an address can be listened on, and why not."""

from __future__ import annotations

import errno
import socket

__all__ = ["cannot_listen", "listening_error"]

_MENDED = {
    errno.EADDRINUSE: "choose another port, or end what listens there",
    errno.EACCES: "ports below 1024 are for root and who has CAP_NET_BIND_SERVICE: get that, or choose another port",
}
_NO_NAME = "no name of a host"


def cannot_listen(host: str, port: int, error: OSError | UnicodeError) -> str:
    """One line about an address that cannot be listened on."""
    number = error.errno if isinstance(error, OSError) else None
    why = (error.strerror or error) if isinstance(error, OSError) else _NO_NAME
    mended = _MENDED.get(number or 0, "name an address of this machine")
    return f"expected an address to listen on, got {host}, port {port}: {why}; {mended}"


def listening_error(host: str, port: int) -> OSError | UnicodeError | None:
    """What keeps a server from an address, if anything does; nothing listens there meanwhile.

    Args:
        host: name or address; of a name its IPv4 address, where it has one.
        port: TCP port; 0 is always free.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, *_ = min(found, key=lambda one: one[0] != socket.AF_INET)
        with socket.socket(family, kind) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
            server.bind((host, port))  # so too: getaddrinfo takes * for a host
    except (OSError, UnicodeError) as error:  # the latter for a name of too long or empty parts
        return error
    return None
