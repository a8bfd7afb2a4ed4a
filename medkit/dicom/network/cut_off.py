"""Instances that were on their way when their association ended: whose they are, as far as what came of them says so.

A sender that was cut off may give up, or leave out the one instance. So somebody is told that its study is not whole.
"""

from __future__ import annotations

import io
import logging
import struct
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from pynetdicom.pdu_primitives import P_DATA

from medkit.dicom.network.encoded import Unidentified, identify

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynetdicom.association import Association
    from pynetdicom.dimse_messages import DIMSEMessage

    from medkit.dicom.network.encoded import Identity

__all__ = ["CUT_OFF", "TOO_LARGE", "CutOff", "length_of"]

CUT_OFF, TOO_LARGE = "cut-off", "too-large"
_LOG = logging.getLogger(__name__)
_HEADER_BYTES = 1 << 20  # of a data set, within which its study is found or not at all
_ITEM = struct.Struct(">IBB")  # length, presentation context, message control header (PS3.8, 9.3.5.1 and E.2)
_LAST_FRAGMENT = 2


class CutOff:
    """Tells whose instances did not come to their end.

    What is on its way is looked at in the thread of its association that reads it, and in no other: it is being written.

    Args:
        tell: called with Study and SOP Instance UID, and ``too-large`` or ``cut-off``.
    """

    def __init__(self, tell: Callable[[str, str, str], None]) -> None:
        self._tell = tell
        self._last: WeakKeyDictionary[Association, tuple[int | None, bytes]] = WeakKeyDictionary()
        self._told: WeakSet[Association] = WeakSet()

    def came(self, association: Association, message: DIMSEMessage) -> None:
        """An instance came whole: the next one of its association is likely to be of the same study."""
        if data := _beginning(message.data_set):
            self._last[association] = (message.context_id, data)

    def is_known(self, association: Association, message: DIMSEMessage) -> bool:
        """Whether the study of what is coming can be told now, or more of it would not help."""
        if length_of(message.data_set) > _HEADER_BYTES:
            return True
        return "AffectedSOPInstanceUID" in message.command_set and (
            association in self._last
            or _identify(association, message.context_id, _beginning(message.data_set)) is not None
        )

    def tell_all(self, association: Association, code: str) -> None:
        """Tell of all that is on its way, once for an association."""
        if association in self._told:
            return
        self._told.add(association)
        for context_id, request in list(association.dimse.msg_queue.queue):
            if getattr(request, "DataSet", None) is not None:
                self.tell(association, request, context_id, request.DataSet, code)
        message = association.dimse.message
        if message is None:
            return
        if "AffectedSOPInstanceUID" in message.command_set:
            self.tell(association, message.command_set, message.context_id, message.data_set, code)
        elif message.encoded_command_set.tell():
            _log_unknown(association)

    def tell(
        self, association: Association, request: Any, context_id: int | None, data: Any, code: str
    ) -> None:
        """Tell of one, by what came of it, or by its request and the instance before it."""
        found = _identify(association, context_id, _beginning(data))
        before = None if found else _identify(association, *self._last.get(association, (None, b"")))
        if one := found or before:
            try:
                self._tell(
                    one.study, found.sop_instance if found else str(request.AffectedSOPInstanceUID), code
                )
            except Exception as error:
                _LOG.error("an instance that did not come whole was not noted: %s", type(error).__name__)
        else:
            _log_unknown(association)

    def read_beginning(self, association: Association, body: bytes) -> None:
        """Take in what came of a P-DATA-TF PDU that is not read to its end, as if it had come in a shorter one.

        Args:
            association: whose it is.
            body: the beginning of what follows the PDU's type and length.
        """
        place = 0
        try:
            while place + _ITEM.size < len(body):
                length, context_id, control = _ITEM.unpack_from(body, place)
                item = body[place + _ITEM.size : place + length + 4]
                if length < 2:  # no item, and nobody knows where the next one begins
                    return
                if len(item) < length - 2:
                    control &= ~_LAST_FRAGMENT
                # One for each: pynetdicom looks at nothing behind the end of a message.
                primitive = P_DATA()
                primitive.presentation_data_value_list.append((context_id, bytes([control]) + item))
                association.dimse.receive_primitive(primitive)
                place += length + 4
        except Exception as error:  # whatever pynetdicom meets in what is no message
            _LOG.info("the beginning of a PDU cannot be read: %s", type(error).__name__)


def _beginning(data: Any) -> bytes:
    """A copy of what an instance is known by: the thread of the association may read the same."""
    return b"" if data is None else bytes(data.getbuffer()[:_HEADER_BYTES])


def _identify(association: Association, context_id: int | None, beginning: bytes) -> Identity | None:
    syntaxes: dict[int | None, str] = {
        one.context_id: one.transfer_syntax[0] for one in association.accepted_contexts
    }
    try:
        return identify(io.BytesIO(beginning), syntaxes[context_id], cut=True)
    except (KeyError, Unidentified):
        return None


def length_of(data: Any) -> int:
    """Bytes of a data set that is coming, or came; its place stays where it is, for another thread may be reading."""
    return 0 if data is None else int(data.getbuffer().nbytes)


def _log_unknown(association: Association) -> None:
    _LOG.warning(
        "an instance of %s was cut off before it said of which study it is: nothing is marked; have its sender send "
        "again what was not answered",
        association.requestor.ae_title,
    )
