"""Associations that we ask for: opened, or the reason told in a way that says whether to try again."""

from __future__ import annotations

import socket
import ssl
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pynetdicom import AE, build_context, evt
from pynetdicom.pdu import A_ASSOCIATE_RJ

from medkit.dicom.network.archive import TLS_FAILED, ArchiveDown, ArchiveRefused
from medkit.dicom.network.checkpoint import Checkpoint
from medkit.dicom.network.node import check_ae_title
from medkit.dicom.network.quiet import keep_quiet
from medkit.dicom.network.tls import tls_fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydicom import Dataset
    from pynetdicom.association import Association
    from pynetdicom.events import Event

    from medkit.dicom.network.tls import TlsFiles

__all__ = ["MOST_CONTEXTS", "Peer", "check_answered"]

MOST_CONTEXTS = 128  # of an association (PS3.8, 9.3.2.2: odd numbers in a byte)
_PDU_BYTES = 1 << 18
_PERMANENT = 1
_OUT_OF_RESOURCES = range(0xA700, 0xA800)
# Of rejections by the service user (PS3.8, table 9-21).
_REASONS = {
    2: "it does not know the application context",
    3: "it does not know our AE title; have it entered there",
    7: "its AE title is another one; mend the setting",
}


@dataclass(frozen=True)
class Peer:
    """Whom we call.

    Args:
        host: name or address.
        port: TCP port.
        ae_title: its AE title.
        own_ae_title: ours.
        tls: speak TLS, with these files.
        seconds: how long it may be silent.
    """

    host: str
    port: int
    ae_title: str
    own_ae_title: str
    tls: TlsFiles | None = None
    seconds: float = 60

    def __post_init__(self) -> None:
        check_ae_title(self.ae_title)
        check_ae_title(self.own_ae_title)

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.ae_title.strip()} at {self.host}:{self.port}"

    @contextmanager
    def associated(
        self,
        contexts: Sequence[tuple[str, Sequence[str]]],
        *,
        roles: Sequence[Any] = (),
        handlers: Sequence[tuple[Any, Any]] = (),
    ) -> Iterator[Association]:
        """An association, which is released at the end of the block, or aborted where that fails.

        Args:
            contexts: pairs of abstract syntax and transfer syntaxes, at most 128.
            roles: items that ask for other roles than the usual ones.
            handlers: pairs of an event of pynetdicom and what handles it.

        Raises:
            ArchiveDown: it does not answer, has no room for us now, or broke off.
            ArchiveRefused: it does not let us in (``association-rejected``), or offers nothing of all that
                (``not-offered``).
        """
        association = self._open(contexts, roles, handlers)
        done = False
        try:
            yield association
            done = True
        finally:
            if association.is_established:
                association.release() if done else association.abort()

    def _open(
        self,
        contexts: Sequence[tuple[str, Sequence[str]]],
        roles: Sequence[Any],
        handlers: Sequence[tuple[Any, Any]],
    ) -> Association:
        keep_quiet()
        entity = AE(check_ae_title(self.own_ae_title))
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = self.seconds
        entity.connection_timeout = self.seconds
        faults: list[ssl.SSLError] = []
        # pynetdicom takes a rejection that comes before it looks for a failed connect for nobody there.
        rejections: list[A_ASSOCIATE_RJ] = []
        try:
            association = entity.associate(
                self.host,
                self.port,
                contexts=[build_context(abstract, list(syntaxes)) for abstract, syntaxes in contexts],
                ae_title=check_ae_title(self.ae_title),
                max_pdu=_PDU_BYTES,
                ext_neg=list(roles),
                tls_args=None
                if self.tls is None
                else (_noting(self.tls.client_context(), faults), self.host),
                evt_handlers=[
                    (evt.EVT_CONN_OPEN, self._prepare),
                    (evt.EVT_PDU_RECV, _note_rejection, [rejections]),
                    *handlers,
                ],
            )
        except OSError as error:  # a name without an address
            raise ArchiveDown(f"{self.name}: expected an answer, got {error.strerror or error}") from error
        if not association.is_established:
            raise self._failure(association, faults, rejections)
        return association

    def _prepare(self, event: Event) -> None:
        """Send at once what is there, and wait for nobody without end, in the middle of a message either."""
        event.assoc._reactor_checkpoint = Checkpoint(event.assoc)
        wrapped = event.assoc.dul.socket
        if wrapped is not None and wrapped.socket is not None:
            wrapped.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wrapped.socket.settimeout(self.seconds)

    def _failure(
        self,
        association: Association,
        faults: Sequence[ssl.SSLError],
        rejections: Sequence[A_ASSOCIATE_RJ],
    ) -> ArchiveDown | ArchiveRefused:
        if faults:
            return ArchiveDown(
                f"{self.name}: expected TLS that both sides trust, got: {tls_fault(faults[0])}; mend the certificates",
                TLS_FAILED,
            )
        if rejections:
            rejection = rejections[0]
            if rejection.result != _PERMANENT:
                return ArchiveDown(f"{self.name}: expected an association, got none for now; try again later")
            reason = _REASONS.get(
                rejection.reason_diagnostic or 0, f"reason {rejection.source}/{rejection.reason_diagnostic}"
            )
            return ArchiveRefused(
                "association-rejected", f"{self.name}: expected an association, got a rejection: {reason}"
            )
        answer = association.acceptor.primitive
        if answer is not None and answer.result == 0 and not association.accepted_contexts:
            return ArchiveRefused(
                "not-offered",
                f"{self.name}: expected one of the services that we asked for, got none; have it switched on",
            )
        what = (
            "nobody who answers" if self.tls is None else "nobody who answers, or who trusts our certificate"
        )
        return ArchiveDown(f"{self.name}: expected an association, got {what}")


def _note_rejection(event: Event, rejections: list[A_ASSOCIATE_RJ]) -> None:
    if isinstance(event.pdu, A_ASSOCIATE_RJ):
        rejections.append(event.pdu)


def _noting(context: ssl.SSLContext, faults: list[ssl.SSLError]) -> ssl.SSLContext:
    """Let the sockets of a context note why TLS fails, of which pynetdicom tells no more than that there is nobody."""

    class Noting(ssl.SSLSocket):
        def connect(self, addr: Any) -> None:
            try:
                super().connect(addr)
            except ssl.SSLError as error:
                faults.append(error)
                raise

        def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
            try:
                return super().recv(buflen, flags)
            except ssl.SSLError as error:  # what the other side thinks of our certificate
                faults.append(error)
                raise

    context.sslsocket_class = Noting
    return context


def check_answered(peer: Peer, status: Dataset, what: str) -> int:
    """The status of an answer.

    Args:
        peer: who answered.
        status: what pynetdicom gave, without content where nothing came.
        what: was asked for, in the words of messages.

    Raises:
        ArchiveDown: nothing came, or the peer is out of resources.
    """
    if "Status" not in status:
        raise ArchiveDown(f"{peer.name}: expected an answer to {what}, got none; the connection broke off")
    code = int(status.Status)
    if code in _OUT_OF_RESOURCES:
        raise ArchiveDown(f"{peer.name}: expected room for {what}, got status 0x{code:04X}, out of resources")
    return code
