"""A caller on a plain socket, that sends what no library would: context 1 is CT images in Explicit VR Little Endian."""

from __future__ import annotations

import contextlib
import socket
import struct

from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.dsutils import encode
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

__all__ = [
    "COMMAND",
    "LAST",
    "ask",
    "command",
    "data_set",
    "fragment",
    "is_aborted",
    "request",
    "requests",
    "send_in_pieces",
]

COMMAND, LAST = 1, 2  # bits of a message control header (PS3.8, E.2)


def request(caller: bytes = b"SCANNER") -> bytes:
    """An A-ASSOCIATE-RQ; the caller's title may be anything."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "PLACEHOLDER", "MEDKIT"
    context = build_context(CTImageStorage, ExplicitVRLittleEndian)
    context.context_id = 1
    primitive.presentation_context_definition_list = [context]
    longest, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    longest.maximum_length_received, implementation.implementation_class_uid = 1 << 16, "1.2.3"
    primitive.user_information = [longest, implementation]
    pdu = A_ASSOCIATE_RQ(primitive).encode()
    return pdu[:26] + caller.ljust(16) + pdu[42:]


def ask(port: int, caller: bytes = b"SCANNER") -> tuple[socket.socket, int]:
    """A connection on which an association was asked for, and the type of the PDU that answered: 2 accepted, 3 not."""
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.sendall(request(caller))
    return connection, connection.recv(1 << 16)[0]


def fragment(data: bytes, control: int) -> bytes:
    """A P-DATA-TF PDU of one fragment."""
    return struct.pack(">BBIIBB", 4, 0, len(data) + 6, len(data) + 2, 1, control) + data


def command(sop_instance: str | None = "1.2.3.4", number: int = 1) -> bytes:
    """The command set of a C-STORE-RQ; one that names no instance is wrong."""
    asked = Dataset()
    asked.AffectedSOPClassUID = CTImageStorage
    if sop_instance is not None:
        asked.AffectedSOPInstanceUID = sop_instance
    asked.CommandField, asked.MessageID, asked.Priority, asked.CommandDataSetType = 1, number, 0, 0
    raw = encode(asked, True, True)
    return struct.pack("<HHII", 0, 0, 4, len(raw)) + raw


def data_set(sop_instance: str = "1.2.3.4", size: int = 0, study: str = "1.2.3") -> bytes:
    """An instance with so many bytes of pixels."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, sop_instance
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, "1.2.3.9"
    dataset.PixelData = bytes(size)
    dataset["PixelData"].VR = "OW"
    return encode(dataset, False, True)


def requests(count: int, size: int) -> bytes:
    """C-STORE after C-STORE, without waiting for an answer."""
    data = fragment(data_set(size=size), LAST)
    return b"".join(fragment(command(number=one + 1), COMMAND | LAST) + data for one in range(count))


def is_aborted(caller) -> bool:
    try:
        return caller.recv(1) in (b"\x07", b"")  # an A-ABORT, or its connection is gone
    except ConnectionResetError:
        return True


def send_in_pieces(caller, command: bytes, data: bytes, size: int) -> None:
    with contextlib.suppress(ConnectionError):  # it may be cut before the end
        caller.sendall(fragment(command, COMMAND | LAST))
        for first in range(0, len(data), size):
            caller.sendall(fragment(data[first : first + size], LAST if first + size >= len(data) else 0))
