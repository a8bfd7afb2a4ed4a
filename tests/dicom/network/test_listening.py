from __future__ import annotations

import errno
import os
import re
import socket

import pytest

from medkit.dicom.network.listening import cannot_listen, listening_error


def test_an_address_that_is_free_has_no_error_and_stays_free():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for host in ("127.0.0.1", "localhost", "0.0.0.0"):
        assert listening_error(host, port) is None
    with socket.create_server(("127.0.0.1", port)):
        pass


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_port_that_is_taken(host):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        error = listening_error(host, port)
    assert error.errno == errno.EADDRINUSE
    assert cannot_listen(host, port, error) == (
        f"expected an address to listen on, got {host}, port {port}: Address already in use; choose another port, or "
        "end what listens there"
    )


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("203.0.113.1", "Cannot assign requested address"),  # of documentation alone (RFC 5737)
        ("nowhere.invalid", "[A-Z][a-z ]+"),  # by the system's own words
        ("*", "[A-Z][a-z ]+"),  # which some programs take for all addresses
        ("a..b", "no name of a host"),
    ],
)
def test_an_address_of_no_machine_or_of_another(host, why):
    line = cannot_listen(host, 0, listening_error(host, 0))
    said = f"expected an address to listen on, got {re.escape(host)}, port 0: {why}; name an address of this machine"
    assert re.fullmatch(said, line)


def test_a_port_that_is_for_root_alone():
    error = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    assert "port 104: Permission denied; ports below 1024 are for root" in cannot_listen(
        "0.0.0.0", 104, error
    )
