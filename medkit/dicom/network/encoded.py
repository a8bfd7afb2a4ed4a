"""Instances as they travel, encoded: whose they are, and the file that a data set becomes, without decoding either."""

from __future__ import annotations

import io
import re
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from pydicom.filereader import dcmread, read_dataset, read_preamble
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian
from pynetdicom.dsutils import encode_file_meta

from medkit.dicom.network.quiet import keep_quiet
from medkit.errors import MedkitError

if TYPE_CHECKING:
    from pydicom.tag import BaseTag
    from pynetdicom.events import Event

__all__ = [
    "CANNOT_UNDERSTAND",
    "Identity",
    "Unidentified",
    "as_file",
    "deflated_from",
    "identify",
    "identify_file",
    "received",
]

_KEYWORDS = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"]
_META_GROUP = 0x0002
_LAST = Tag("StudyInstanceUID")
CANNOT_UNDERSTAND, _DOES_NOT_MATCH = 0xC000, 0xA900  # DICOM PS3.4, table GG.4-1
_UID = re.compile(r"[0-9.]{1,64}")
_INFLATED_BYTES = 1 << 26  # of a deflated data set; the UIDs stand near its beginning


class Unidentified(MedkitError):
    """A data set that does not say which study and instance it is.

    Args:
        dicom_status: what to answer to a C-STORE: cannot understand (0xC000), or does not match (0xA900).
        message: one line for a person, without UIDs.
    """

    def __init__(self, dicom_status: int, message: str) -> None:
        super().__init__(message)
        self.dicom_status = dicom_status


@dataclass(frozen=True)
class Identity:
    """What a data set says it is: three UIDs."""

    sop_class: str
    sop_instance: str
    study: str


def identify(data: BinaryIO, transfer_syntax: str, *, cut: bool = False) -> Identity:
    """Read the UIDs of a data set and nothing behind them.

    Args:
        data: the data set, without file meta information; is at its beginning again afterwards.
        transfer_syntax: UID of its encoding.
        cut: it may end anywhere, and so in the midst of a UID.

    Raises:
        Unidentified: one of the UIDs is missing or none, or what stands before them cannot be read.
    """
    keep_quiet()
    syntax = UID(transfer_syntax)
    start = data.tell()
    file = data
    behind: list[BaseTag] = []

    def is_behind_last(tag: BaseTag, vr: str | None, length: int) -> bool:
        behind.extend([tag] if tag > _LAST else [])
        return bool(behind)

    try:
        if syntax == DeflatedExplicitVRLittleEndian:
            file = io.BytesIO(zlib.decompressobj(-zlib.MAX_WBITS).decompress(data.read(), _INFLATED_BYTES))
        found = read_dataset(
            file,
            syntax.is_implicit_VR,
            syntax.is_little_endian,
            stop_when=is_behind_last,
            specific_tags=[Tag(keyword) for keyword in _KEYWORDS],
        )
        uids = [str(found.get(keyword, "")).strip(" \0") for keyword in _KEYWORDS]
    except Exception as error:  # whatever pydicom meets in what is no data set
        raise Unidentified(
            CANNOT_UNDERSTAND,
            f"expected a data set in {syntax.name}, got one that cannot be read ({type(error).__name__})",
        ) from error
    finally:
        data.seek(start)
    if cut and not behind:
        raise Unidentified(CANNOT_UNDERSTAND, "expected UIDs, got a data set that ends before or within them")
    return _checked(uids)


def identify_file(file: BinaryIO) -> Identity:
    """Read the UIDs of a DICOM file (PS3.10); it is at its beginning again afterwards.

    Raises:
        Unidentified: it is no such file, or does not say what it is.
    """
    keep_quiet()
    try:
        if (start := deflated_from(file)) is not None:  # pydicom would inflate all of it
            file.seek(start)
            return identify(file, DeflatedExplicitVRLittleEndian)
        found = dcmread(file, stop_before_pixels=True, specific_tags=list(_KEYWORDS))
        uids = [str(found.get(keyword, "")).strip(" \0") for keyword in _KEYWORDS]
    except Unidentified:
        raise
    except Exception as error:  # whatever pydicom meets in what is no DICOM file
        text = f"expected a DICOM file, got one that cannot be read ({type(error).__name__})"
        raise Unidentified(CANNOT_UNDERSTAND, text) from error
    finally:
        file.seek(0)
    return _checked(uids)


def deflated_from(file: BinaryIO) -> int | None:
    """Where the deflated data set of a DICOM file (PS3.10) begins; ``None`` where it is not deflated.

    The file is at its beginning again afterwards.

    Raises:
        Exception: whatever pydicom meets in what is no DICOM file.
    """
    file.seek(0)
    read_preamble(file, force=False)
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != _META_GROUP)
    next(iter(meta), None)  # where pydicom cannot read the first, it begins anew in another encoding
    start = file.tell()
    file.seek(0)
    return start if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian else None


def _checked(uids: list[str]) -> Identity:
    if lacking := [keyword for keyword, uid in zip(_KEYWORDS, uids, strict=True) if not _UID.fullmatch(uid)]:
        text = f"expected UIDs as {', '.join(_KEYWORDS)}, got none as {', '.join(lacking)}"
        raise Unidentified(CANNOT_UNDERSTAND, text)
    return Identity(*uids)


def received(event: Event) -> tuple[Identity, IO[bytes]]:
    """What a C-STORE request brought: its UIDs and the DICOM file that it makes.

    Raises:
        Unidentified: it does not say what it is, or is another instance than the request says.
    """
    request: Any = event.request
    request.DataSet.seek(0)  # it was written piece by piece
    found = identify(request.DataSet, event.context.transfer_syntax)
    if (found.sop_class, found.sop_instance) != (request.AffectedSOPClassUID, request.AffectedSOPInstanceUID):
        raise Unidentified(
            _DOES_NOT_MATCH, "expected the class and instance that the request names, got others"
        )
    return found, as_file(encode_file_meta(event.file_meta), request.DataSet)


def as_file(meta: bytes, data: BinaryIO) -> IO[bytes]:
    """A DICOM file (PS3.10) of file meta information and a data set, without a copy of the data.

    Args:
        meta: the encoded file meta information, group length included.
        data: the encoded data set, from where it stands.
    """
    return io.BufferedReader(_Chained(bytes(128) + b"DICM" + meta, data))


class _Chained(io.RawIOBase):
    def __init__(self, head: bytes, data: BinaryIO) -> None:
        self._parts: list[BinaryIO] = [io.BytesIO(head), data]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        room = memoryview(buffer)
        while self._parts:
            chunk = self._parts[0].read(len(room))
            if chunk:
                room[: len(chunk)] = chunk
                return len(chunk)
            self._parts.pop(0)
        return 0
