"""Strangers take no place, hold no thread for long, and keep nobody out."""

from __future__ import annotations

import logging
import socket
import struct
import threading
from contextlib import ExitStack

import pytest

from medkit.dicom.network.node import NodeLimits, StorageNode
from medkit.dicom.network.tls import TlsFiles
from tests.dicom.network import raw_caller
from tests.dicom.network.takers import eventually
from tests.dicom.network.test_node import associate


def node(**more) -> StorageNode:
    return StorageNode("MEDKIT", lambda *_: 0, ["SCANNER"], port=0, **more)


def knock(port: int, stack: ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))


def test_silent_strangers_do_not_keep_a_sender_out():
    with ExitStack() as stack:
        listening = stack.enter_context(node(limits=NodeLimits(associations=2)))
        for _ in range(12):
            knock(listening.port, stack)
        association = associate(listening.port)
        assert association.is_established
        association.release()


def test_the_stranger_that_is_silent_for_longest_goes_first():
    with ExitStack() as stack:
        listening = stack.enter_context(node(limits=NodeLimits(associations=1)))
        first, *others = [knock(listening.port, stack) for _ in range(3)]
        assert first.recv(1) == b""
        for one in others:
            one.settimeout(0.2)
            with pytest.raises(TimeoutError):
                one.recv(1)


def test_who_has_an_association_is_no_stranger():
    with ExitStack() as stack:
        listening = stack.enter_context(node(limits=NodeLimits(associations=1)))
        association = associate(listening.port)
        for _ in range(12):
            knock(listening.port, stack)
        assert association.send_c_echo().Status == 0
        association.release()


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "TLS"])
def test_connections_take_a_bounded_number_of_threads(certificates, encrypted):
    files = TlsFiles(certificates.server.certificate, certificates.server.key) if encrypted else None
    with ExitStack() as stack:
        listening = stack.enter_context(node(tls=files, limits=NodeLimits(associations=2)))
        before = threading.active_count()
        for _ in range(60):
            knock(listening.port, stack)
        last = knock(listening.port, stack)
        assert eventually(lambda: listening._server is not None and threading.active_count() - before <= 8)
        last.settimeout(0.1)
        with pytest.raises(TimeoutError):
            last.recv(1)


def test_a_pdu_that_comes_byte_by_byte_is_not_waited_for(monkeypatch):
    """Each byte comes in time, and the PDU never does."""
    with ExitStack() as stack:
        listening = stack.enter_context(node(limits=NodeLimits(seconds=0.4)))
        stranger = knock(listening.port, stack)
        caller, answer = raw_caller.ask(listening.port)
        stack.enter_context(caller)
        assert answer == 2
        for one, kind in ((stranger, 1), (caller, 4)):
            one.settimeout(0.1)
            one.sendall(struct.pack(">BBI", kind, 0, 1 << 18))
            for _ in range(100):
                try:
                    one.sendall(b"\0")
                    if not one.recv(1):
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
            else:
                pytest.fail("it is still listened to after 10 seconds, of which it has 0.4")


def test_a_scan_of_ports_is_one_line_of_the_log(certificates, caplog):
    with node(tls=certificates.server) as listening:
        with socket.create_connection(("127.0.0.1", listening.port), 10) as scanner:
            scanner.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while scanner.recv(100):
                pass
        assert eventually(lambda: "failed" in caplog.text)
    (said,) = [record for record in caplog.records if "failed" in record.getMessage()]
    assert said.exc_info is None
    assert said.getMessage() == "a connection from 127.0.0.1 failed: HTTP_REQUEST"


def test_a_node_that_stops_lets_strangers_go(caplog):
    listening = node()
    listening.start()
    with (
        socket.create_connection(("127.0.0.1", listening.port), 10) as stranger,
        caplog.at_level(logging.DEBUG),
    ):
        assert eventually(lambda: listening._server is not None and listening._server._strangers)
        listening.stop()
        assert stranger.recv(1) == b""
