"""What compressed pictures say of themselves, before a decoder sees them."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from medkit.dicom.findings import Refused, counted

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "SIGN_BYTES",
    "check_jpeg",
    "codestream_precision",
    "codestream_signed",
    "codestream_size",
    "open_ended",
]

SIGN_BYTES = 43  # of a JPEG 2000 image, up to the depth of its first component
_PROGRESSIVE, _HUFFMAN_TABLES, _SCAN, _APP0 = 0xC2, 0xC4, 0xDA, 0xE0
# In the data of a scan: what is no byte of these, no restart and no filling up (ITU-T T.81 annex B.1.1).
_MARKER, _END = re.compile(rb"\xff[^\0\xd0-\xd7\xff]"), b"\xff\xd9"
_READ_AHEAD = 4  # bytes that libjpeg holds before it decodes the last number
# libjpeg takes so many bytes that begin so for JFIF, and gdcm ends where the version behind them is another than 1.
_JFIF, _JFIF_BYTES = b"JFIF\0", 14
# Bits of a number by the kind of frame: baseline, extended, progressive, lossless (ITU-T T.81 table B.2).
_PRECISIONS = {0xC0: (8,), 0xC1: (8, 12), _PROGRESSIVE: (8, 12), 0xC3: range(2, 17)}
# What may stand before a scan: tables, restart interval, comment, applications' own.
_BEFORE_SCAN = {*_PRECISIONS, _HUFFMAN_TABLES, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}


def check_jpeg(encoded: bytes, where: str, components: int) -> None:
    """Check a JPEG image up to its first scan: some faults there end gdcm, and this process with it.

    Args:
        encoded: the image.
        where: how messages call it.
        components: samples of a pixel that it must have.

    Raises:
        Refused: ``undecodable``.
    """
    if not _sound_jpeg(encoded, components):
        raise Refused(
            "undecodable",
            f"{where}: expected a JPEG image of {counted(components, 'sample', 'samples')} a pixel with its tables, got "
            "a broken or another one; copy or convert it",
        )


def _sound_jpeg(encoded: bytes, components: int) -> bool:
    """Whether whole segments lead to a scan, among them one frame that the standard knows, and its tables."""
    frames, tables = 0, False
    for marker, _, segment in _segments(encoded):
        if marker == _SCAN:
            return frames == 1 and tables
        if marker not in _BEFORE_SCAN:
            return False
        if marker in _PRECISIONS:
            frames += 1
            # Precision, rows, columns, number of components, and three bytes of each.
            sizes = len(segment) == 6 + 3 * components and segment[5] == components
            if not sizes or segment[0] not in _PRECISIONS[marker]:
                return False
        jfif = marker == _APP0 and len(segment) >= _JFIF_BYTES and segment.startswith(_JFIF)
        if jfif and segment[len(_JFIF)] != 1:
            return False
        tables |= marker == _HUFFMAN_TABLES
    return False


def open_ended(encoded: bytes) -> bytes:
    """A grey sequential JPEG image with a few zeros in the place of its end; others as they are.

    Where data end before their marker of the end, libjpeg invents the rest of the pixels and says so to nobody but the
    standard error stream. Where bytes end, it stops.

    Args:
        encoded: an image of one component.
    """
    for marker, place, _ in _segments(encoded):
        if marker == _PROGRESSIVE:  # of many scans, whose end nothing but the marker tells
            return encoded
        if marker == _SCAN:
            end = _MARKER.search(encoded, place)
            if end is None or end[0] != _END:
                return encoded
            return encoded[: end.start()].rstrip(b"\xff") + bytes(_READ_AHEAD)
    return encoded


def _segments(encoded: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Marker, end and content of each segment of a JPEG image, up to what is no whole one (ITU-T T.81 annex B.1.1)."""
    place = 2
    while encoded[:2] == b"\xff\xd8" and place + 4 <= len(encoded) and encoded[place] == 0xFF:
        marker = encoded[place + 1]
        if marker == 0xFF:  # a byte that fills up
            place += 1
            continue
        (length,) = struct.unpack_from(">H", encoded, place + 2)
        segment = encoded[place + 4 : place + 2 + length]
        if length < 2 or len(segment) != length - 2:
            return
        place += 2 + length
        yield marker, place, segment


def codestream_signed(encoded: bytes) -> bool | None:
    """Whether a JPEG 2000 image says that its numbers are signed (ISO 15444-1 annex A.5.1); ``None`` for others."""
    if encoded[:4] != b"\xff\x4f\xff\x51" or len(encoded) < SIGN_BYTES:
        return None
    return bool(encoded[42] & 0x80)


def codestream_size(encoded: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG or JPEG 2000 image says of itself, before it is decoded; ``None`` for others."""
    if encoded[:4] == b"\xff\x4f\xff\x51":  # JPEG 2000: SOC, SIZ (ISO 15444-1 annex A.5.1)
        if len(encoded) < 24:
            return None
        width, height, left, top = struct.unpack_from(">IIII", encoded, 8)
        return height - top, width - left
    header = _frame_header(encoded)
    if header is None:
        return None
    rows, columns = struct.unpack_from(">HH", header, 1)
    return rows, columns


def codestream_precision(encoded: bytes) -> int | None:
    """Bits of a number, as a JPEG image says them of itself; ``None`` for others."""
    header = _frame_header(encoded)
    return None if header is None else header[0]


def _frame_header(encoded: bytes) -> bytes | None:
    """Parameters of a JPEG or JPEG-LS frame: precision, rows, columns ... (ITU-T T.81 annex B.2.2, T.87 annex C.2.2)."""
    for marker, _, segment in _segments(encoded):
        if (0xC0 <= marker <= 0xCF and marker not in (_HUFFMAN_TABLES, 0xC8, 0xCC)) or marker == 0xF7:
            return segment if len(segment) >= 6 else None
    return None
