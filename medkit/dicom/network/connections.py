"""Connections that a node accepts: from anybody, and so bounded in number, and in the length and time of each PDU.

Who has not asked for an association yet is a stranger. Strangers take none of the places of associations; where more
come than are waited for, the one that has been silent for longest is let go, and not the one that comes, since senders
ask at once.
"""

from __future__ import annotations

import logging
import socket
import socketserver
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from pynetdicom import AE, evt
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from ssl import SSLContext

    from pynetdicom.association import Association
    from pynetdicom.events import Event
    from pynetdicom.transport import AssociationSocket

__all__ = ["Entity", "Server"]

_LOG = logging.getLogger(__name__)
_REQUEST_BYTES = 1 << 20  # of an A-ASSOCIATE-RQ with 128 contexts, and more than ever needed
_TYPES = range(1, 8)  # of PDUs (PS3.8, 9.3.1)
_P_DATA_TF = 4  # the type of those that bring instances (PS3.8, 9.3.5)
_STRANGERS = 2  # connections without an association, for each that may be had


class Entity(AE):
    """An application entity of which strangers take no place."""

    @property
    def active_associations(self) -> list[Association]:
        """Those that were asked for."""
        return [one for one in super().active_associations if one.requestor.primitive is not None]


class Server(ThreadedAssociationServer):
    """Serves each connection in its own thread from the first byte on, so that none holds up the others.

    Args:
        entity: whose associations they are.
        address: host and port to listen on.
        handlers: pairs of an event of pynetdicom and what handles it.
        tls: speak TLS.
        unfinished: told of an association that sends a P-DATA-TF PDU which is not read to its end, and what came behind
            its length, before the connection ends; and of the limit in bytes, where it is beyond that.

    Raises:
        OSError: the address cannot be listened on.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        entity: Entity,
        address: tuple[str, int],
        handlers: list[Any],
        tls: SSLContext | None,
        unfinished: Callable[[Association, bytes, int | None], None],
    ) -> None:
        self._tls, self.unfinished = tls, unfinished
        self._strangers: dict[socket.socket, None] = {}  # the first that came first
        self._changing = threading.Lock()
        events = [*handlers, (evt.EVT_REQUESTED, self._know), (evt.EVT_CONN_CLOSE, _let_go)]
        super().__init__(entity, address, entity.ae_title, entity.supported_contexts, None, events, _Handler)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection; a TLS handshake is left to its thread."""
        assert self.socket is not None
        connection, address = self.socket.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(self.ae.network_timeout)
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._changing:
            self._strangers[connection] = None
        self._let_strangers_go(_STRANGERS * self.ae.maximum_associations)
        return connection, address

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Begin to talk."""
        if self._tls is not None:
            request.do_handshake()
        super().finish_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        self._forget(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong before there was an association: no TLS, a certificate that nobody vouches for."""
        error = sys.exc_info()[1]
        why = getattr(error, "reason", None) or type(error).__name__  # of TLS: a name of OpenSSL's
        _LOG.warning("a connection from %s failed: %s", client_address[0], why)

    def shutdown(self) -> None:
        """Listen no more; associations go on."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()
        self._let_strangers_go(0)

    def _let_strangers_go(self, most: int) -> None:
        """Let those go that have been silent for longest, until there are so many."""
        with self._changing:
            surplus = list(self._strangers)[: max(0, len(self._strangers) - most)]
            for stranger in surplus:
                del self._strangers[stranger]
        for stranger in surplus:
            with suppress(OSError):  # it went meanwhile
                socket.socket.shutdown(stranger, socket.SHUT_RDWR)  # its thread does the rest

    def _know(self, event: Event) -> None:
        wrapped = event.assoc.dul.socket
        if wrapped is not None and wrapped.socket is not None:
            self._forget(wrapped.socket)

    def _forget(self, connection: socket.socket) -> None:
        with self._changing:
            self._strangers.pop(connection, None)


class _Handler(RequestHandler):
    """Makes associations that read no PDU of any length that a caller may choose, nor for as long as it likes."""

    server: Server

    def _create_association(self) -> Association:
        association = super()._create_association()
        connection = association.dul.socket
        assert connection is not None
        entity = self.server.ae
        assert entity.network_timeout is not None
        # pynetdicom takes the length that a PDU states, up to 4 GiB, and reads in pieces of 4 KiB.
        connection.recv = _Reader(  # type: ignore[method-assign]
            connection,
            max(entity.maximum_pdu_size, _REQUEST_BYTES),
            entity.network_timeout,
            partial(self.server.unfinished, association),
        )
        return association


class _Reader:
    """Reads what a PDU has first, and then the rest of it, if that is not too long."""

    def __init__(
        self,
        connection: AssociationSocket,
        longest: int,
        seconds: float,
        unfinished: Callable[[bytes, int | None], None],
    ) -> None:
        self._connection, self._longest, self._seconds = connection, longest, seconds
        self._unfinished = unfinished
        self._type = 0  # of the PDU whose rest is read next

    def __call__(self, nr_bytes: int) -> bytearray:
        kind, self._type = self._type, 0
        if kind == _P_DATA_TF:
            return self._instances(nr_bytes)
        self._check_length(nr_bytes)
        data = bytearray(nr_bytes)
        self._fill(data)
        if not kind and data and data[0] in _TYPES:  # of others nothing more is read
            self._type = data[0]
        return data

    def _instances(self, nr_bytes: int) -> bytearray:
        """The rest of a P-DATA-TF; of one that has no end it is told what came."""
        data = bytearray(min(nr_bytes, self._longest))
        try:
            self._fill(data)
        finally:
            if len(data) < nr_bytes:
                self._unfinished(bytes(data), self._longest if nr_bytes > self._longest else None)
        self._check_length(nr_bytes)
        return data

    def _check_length(self, nr_bytes: int) -> None:
        if nr_bytes > self._longest:
            raise OSError(f"expected a PDU of at most {self._longest} bytes, got one of {nr_bytes}")

    def _fill(self, data: bytearray) -> None:
        """Read as much as there is room for, and leave no more than came, whatever ends it."""
        there, nr_bytes = 0, len(data)
        connection = self._connection.socket
        assert connection is not None
        until = time.monotonic() + self._seconds  # for all of it: each byte alone may take as long
        try:
            with memoryview(data) as room:
                while there < nr_bytes and (more := connection.recv_into(room[there:])):
                    there += more
                    if there < nr_bytes and time.monotonic() > until:
                        raise TimeoutError(
                            f"expected a PDU within {self._seconds:g} seconds, got {there} bytes of it"
                        )
        finally:
            del data[there:]


def _let_go(event: Event) -> None:
    """End an association whose caller went before asking for one, as monitors of ports do.

    pynetdicom would wait for the request until its time is over.
    """
    if event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(None)  # it takes this, and says not so
