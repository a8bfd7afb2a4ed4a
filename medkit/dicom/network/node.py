"""A DICOM node that takes instances: SCP of C-STORE and C-ECHO for callers that are on its list.

What a caller sends is handed on as it came, encoded, in the form of a file; the answer to the caller is what the taker
says. Nothing is decoded here but the three UIDs that tell where an instance belongs; what the taker decodes, it decodes
in this process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from pynetdicom import AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from medkit.dicom.network.connections import Entity, Server
from medkit.dicom.network.cut_off import CUT_OFF, TOO_LARGE, CutOff, length_of
from medkit.dicom.network.encoded import CANNOT_UNDERSTAND, Unidentified, received
from medkit.dicom.network.listening import cannot_listen
from medkit.dicom.network.private_classes import PRIVATE_CLASSES, know_private_classes
from medkit.dicom.network.quiet import keep_quiet
from medkit.dicom.network.senders import End, Sender, Senders
from medkit.dicom.network.syntaxes import COMPRESSED, NATIVE
from medkit.errors import UsageError

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.events import Event

    from medkit.dicom.network.tls import TlsFiles

__all__ = ["AnswerStore", "NodeLimits", "Rejection", "StorageNode", "check_ae_title"]

AnswerStore: TypeAlias = Callable[[str, str, IO[bytes]], int]
"""Called with Study and SOP Instance UID and a file's bytes; gives the status of the C-STORE (PS3.4, table GG.4-1)."""

_LOG = logging.getLogger(__name__)
_OUT_OF_RESOURCES = 0xA700
_LONGEST_AE_TITLE = 16
_COMMAND_BYTES = 1 << 16  # of a command set, which has some 300
_MOST_WAITING = 16  # requests of one association that were sent before the answer to the one before
_FULL = (3, 2)  # source of a rejection and its reason: local-limit-exceeded (PS3.8, table 9-21)
_PAUSE = 0.05


@dataclass(frozen=True)
class NodeLimits:
    """What callers may ask for.

    Args:
        associations: at one time; further ones are rejected for now.
        pdu_bytes: of one PDU, as callers are told; one that sends more than this, and more than 1 MiB, is aborted.
        instance_bytes: of one instance, which is held in memory, and of all of an association that wait there; one that
            sends more is aborted.
        held_bytes: of all associations together; the one that sends more is aborted, as soon as it is known which study
            is then not whole, or when 1 MiB of an instance did not say so.
        seconds: how long a caller may be silent, and how long one PDU may take to come.
    """

    associations: int = 16
    pdu_bytes: int = 1 << 18
    instance_bytes: int = 1 << 31
    held_bytes: int = 1 << 32
    seconds: float = 60


@dataclass(frozen=True)
class Rejection:
    """An association that was rejected for a title; titles may be anything.

    Args:
        ae_title: of the caller (calling AE title).
        called: the title that it calls.
        address: of the caller.
        unknown: whether the caller is none of those that may call.
        misnamed: whether the called title is not ours.
    """

    ae_title: str
    called: str
    address: str
    unknown: bool
    misnamed: bool


class StorageNode:
    """A node of one AE title; may be started again after it was stopped.

    Args:
        ae_title: our own; associations that call another one are rejected.
        take: gets each instance, in the thread of its association: several at a time.
        callers: AE titles that may call; others are rejected.
        host: address of the network interface to listen on; this machine alone unless told.
        port: TCP port; 0 for any that is free.
        tls: speak TLS, with these files.
        limits: what callers may ask for.
        cut_off: told Study and SOP Instance UID of each instance that did not come to its end, as far as it is known
            what it is, and why: ``too-large``, or ``cut-off`` for all else that ends an association in its midst. Its
            study is not whole.
        comes_from: told Study and SOP Instance UID of each instance, and its sender, before ``take`` gets it.
        ended: told of the end of each association, and whose it was, see
            :class:`medkit.dicom.network.senders.Senders`; of a release before that is answered.
        rejected: told of each caller that is not let in for its own or the called title.

    Raises:
        UsageError: an AE title is none, there are no callers, or a file of ``tls`` cannot be used.
    """

    def __init__(
        self,
        ae_title: str,
        take: AnswerStore,
        callers: Collection[str],
        *,
        host: str = "127.0.0.1",
        port: int = 11112,
        tls: TlsFiles | None = None,
        limits: NodeLimits | None = None,
        cut_off: Callable[[str, str, str], None] = lambda study_uid, sop_uid, code: None,
        comes_from: Callable[[str, str, Sender], None] = lambda study_uid, sop_uid, sender: None,
        ended: Callable[[Sender, End], None] = lambda sender, end: None,
        rejected: Callable[[Rejection], None] = lambda rejection: None,
    ) -> None:
        self.limits = limits or NodeLimits()
        self._take, self._cut_off, self._comes_from = take, CutOff(cut_off), comes_from
        self._senders, self._rejected = Senders(ended), rejected
        self._host, self._port = host, port
        self._tls = None if tls is None else tls.server_context()
        self._server: Server | None = None
        self._held: dict[Association, int] = {}  # bytes that wait or are coming
        self._being_taken: dict[Association, int] = {}
        self._told: dict[Association, set[str]] = {}  # of what failed, the kinds of errors
        self._ae = self._application_entity(check_ae_title(ae_title), callers)

    @property
    def port(self) -> int:
        """The TCP port, which the system chose where 0 was asked for."""
        return self._port if self._server is None else int(self._server.server_address[1])

    def start(self) -> None:
        """Listen; returns at once.

        Raises:
            UsageError: the address cannot be listened on.
        """
        keep_quiet()
        handlers: list[Any] = [
            (evt.EVT_ESTABLISHED, self._senders.opened),
            (evt.EVT_C_STORE, self._answer_store),
            (evt.EVT_PDU_RECV, self._check_size),
            (evt.EVT_PDU_RECV, self._senders.received),
            (evt.EVT_PDU_SENT, self._senders.sent),
            (evt.EVT_DIMSE_RECV, lambda event: self._cut_off.came(event.assoc, event.message)),
            (evt.EVT_REJECTED, self._tell_rejected),
            (evt.EVT_ABORTED, self._tell_aborted),
            (evt.EVT_CONN_CLOSE, self._let_go),
            (evt.EVT_CONN_CLOSE, self._senders.closed),
        ]
        try:
            server = Server(self._ae, (self._host, self._port), handlers, self._tls, self._end_unfinished)
        except (OSError, UnicodeError) as error:
            raise UsageError(f"the DICOM node: {cannot_listen(self._host, self._port, error)}") from error
        self._server = server
        threading.Thread(target=server.serve_forever, args=(_PAUSE,), name="dicom-node", daemon=True).start()

    def stop(self, grace_seconds: float = 30) -> None:
        """Take no more associations, let those go on that are there, and abort what is left of them after a while."""
        server, self._server = self._server, None
        if server is None:
            return
        self._port = int(server.server_address[1])
        server.shutdown()
        until = time.monotonic() + grace_seconds
        while any(one.is_established for one in server.active_associations) and time.monotonic() < until:
            time.sleep(_PAUSE)
        for association in server.active_associations:
            if association.is_established:
                _LOG.warning("stopped: aborted the association of %s", association.requestor.ae_title)
            if association.requestor.primitive is not None:
                association.abort()

    def __enter__(self) -> StorageNode:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _application_entity(self, ae_title: str, callers: Collection[str]) -> Entity:
        if not callers:
            raise UsageError(
                "the DICOM node: expected AE titles of those who may send, got none; name each of them"
            )
        entity = Entity(ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = [check_ae_title(caller) for caller in callers]
        entity.maximum_associations = self.limits.associations
        entity.maximum_pdu_size = self.limits.pdu_bytes
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = self.limits.seconds
        know_private_classes()
        for kind in [*(str(one.abstract_syntax) for one in AllStoragePresentationContexts), *PRIVATE_CLASSES]:
            entity.add_supported_context(kind, [*NATIVE, *COMPRESSED])
        entity.add_supported_context(Verification)
        return entity

    def _answer_store(self, event: Any) -> int:
        data = event.request.DataSet
        self._being_taken[event.assoc] = length_of(data)
        try:
            with self._senders.taking(event.assoc):
                return self._answer(event)
        finally:
            self._being_taken.pop(event.assoc, None)

    def _answer(self, event: Any) -> int:
        caller = event.assoc.requestor.ae_title
        if self._too_large(event.request.DataSet):  # all of it was there before the association was aborted
            request = event.request
            self._cut_off.tell(event.assoc, request, event.context.context_id, request.DataSet, TOO_LARGE)
            return CANNOT_UNDERSTAND
        try:
            found, file = received(event)
        except Unidentified as error:
            _LOG.warning("an instance of %s: %s", caller, error)
            return error.dicom_status
        try:
            self._comes_from(found.study, found.sop_instance, self._senders.of(event.assoc))
            return self._take(found.study, found.sop_instance, file)
        except Exception as error:
            # What cannot be stored now is sent again, and nobody's data get into a log with the text of an error.
            said = self._told.setdefault(event.assoc, set())
            if type(error).__name__ not in said:
                said.add(type(error).__name__)
                _LOG.error(
                    "an instance of %s was not taken: %s; more of its association are not told",
                    *(caller, type(error).__name__),
                )
            return _OUT_OF_RESOURCES

    def _check_size(self, event: Event) -> None:
        """Abort an association that makes us hold too much; looked at before each PDU is."""
        association, message = event.assoc, event.assoc.dimse.message
        queued = [request for _, request in list(association.dimse.msg_queue.queue)]
        waiting = sum(length_of(getattr(request, "DataSet", None)) for request in queued)
        coming = 0 if message is None else length_of(message.data_set)
        self._held[association] = waiting + coming
        if message is not None and self._too_large(message.data_set):
            self._abort(association, f"instances of at most {self.limits.instance_bytes} bytes", TOO_LARGE)
        elif message is not None and message.encoded_command_set.tell() > _COMMAND_BYTES:
            self._abort(association, f"commands of at most {_COMMAND_BYTES} bytes")
        elif len(queued) > _MOST_WAITING or waiting + coming > self.limits.instance_bytes:
            self._abort(association, f"at most {_MOST_WAITING} requests before the answer to the first")
        elif (
            # Between two instances, or before one said whose it is, nobody could say what is missing.
            message is not None
            and sum([*self._held.values(), *self._being_taken.values()]) > self.limits.held_bytes
            and self._cut_off.is_known(association, message)
        ):
            self._abort(association, f"at most {self.limits.held_bytes} bytes of all callers together")

    def _abort(self, association: Association, expected: str, code: str = CUT_OFF) -> None:
        """End an association, and tell of all that was on its way: its sender may give up."""
        _LOG.warning(
            "expected %s, got more; aborted the association of %s",
            expected,
            association.requestor.ae_title,
        )
        self._cut_off.tell_all(association, code)
        association.abort(block=False)

    def _end_unfinished(self, association: Association, body: bytes, longest: int | None) -> None:
        """Take in what came of a PDU that is not read to its end, and say why where it is beyond the limit."""
        if not association.accepted_contexts:
            return
        # It may be established no more: the thread that looks for silence may have ended it a moment ago.
        self._cut_off.read_beginning(association, body)
        if longest is not None:
            self._abort(association, f"PDUs of at most {longest} bytes")

    def _tell_rejected(self, event: Event) -> None:
        peer, answer = event.assoc.requestor, event.assoc.acceptor.primitive
        called = None if peer.primitive is None else peer.primitive.called_ae_title
        own, known = self._ae.ae_title, self._ae.require_calling_aet
        unknown, misnamed = peer.ae_title not in known, called != own
        why = []
        if answer is not None and (answer.result_source, answer.diagnostic) == _FULL:
            why.append("there are as many associations as there may be")
        if unknown:
            why.append(f"it may not send here, only {', '.join(known)} may; name it in callers if it should")
        if misnamed:
            why.append(f"it calls {called}, and we are {own}; have it call {own}, or change our ae_title")
        _LOG.warning(
            "rejected an association of %s with %s from %s: %s",
            peer.ae_title,
            called,
            peer.address,
            "; ".join(why),
        )
        if unknown or misnamed:
            self._rejected(Rejection(peer.ae_title, called or "", peer.address or "", unknown, misnamed))

    def _tell_aborted(self, event: Event) -> None:
        _LOG.info("an association of %s was aborted", event.assoc.requestor.ae_title)

    def _let_go(self, event: Event) -> None:
        """Tell of what was on its way, in the thread that reads it: whatever ended it, nothing more comes."""
        self._held.pop(event.assoc, None)
        self._told.pop(event.assoc, None)
        self._cut_off.tell_all(event.assoc, CUT_OFF)

    def _too_large(self, data: IO[bytes] | None) -> bool:
        return length_of(data) > self.limits.instance_bytes


def check_ae_title(title: str) -> str:
    """An AE title without the spaces around it (PS3.5, 6.2).

    Raises:
        UsageError: it is none.
    """
    plain = title.strip(" ")
    if (
        not 0 < len(plain) <= _LONGEST_AE_TITLE
        or not plain.isascii()
        or not plain.isprintable()
        or "\\" in plain
    ):
        raise UsageError(
            f"{title!r}: expected an AE title of 1 to {_LONGEST_AE_TITLE} ASCII characters without a backslash; "
            "name it as the other side does"
        )
    return plain
