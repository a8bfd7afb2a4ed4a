"""Take what is no pixel out of pixel data: comments in compressed images, and bits beside the stored ones."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["blank_comments", "clear_unused_bits"]

_ITEM = b"\xfe\xff\x00\xe0"
_JPEG, _JPEG_2000 = b"\xff\xd8", b"\xff\x4f"
# Comments, Exif and XMP, IPTC of JPEG (ITU-T T.81, B.2.4.5 and B.2.4.6); comments of JPEG 2000 (ITU-T T.800, A.9.2).
_WORDS = {_JPEG: {0xFE, 0xE1, 0xED}, _JPEG_2000: {0x64}}
# Behind the header: start of scan, start of tile-part.
_HEADER_ENDS = {_JPEG: {0xDA, 0xD9}, _JPEG_2000: {0x90, 0xD9}}


def blank_comments(encapsulated: bytes) -> bytes:
    """Write spaces over the comments in the headers of compressed images, so that nothing else moves.

    Args:
        encapsulated: items of a Pixel Data element (PS3.5 annex A.4).
    """
    data = bytearray(encapsulated)
    place = 0
    while place + 8 <= len(data) and data[place : place + 4] == _ITEM:
        (length,) = struct.unpack_from("<I", data, place + 4)
        _blank_header(data, place + 8, min(place + 8 + length, len(data)))
        place += 8 + length
    return bytes(data)


def clear_unused_bits(dataset: Dataset) -> None:
    """Clear the bits of native pixels beside the stored ones: old overlays lie there.

    Signed numbers get their sign there, as is usual. One sample of 8 or 16 bits is looked at; others have no such bits.
    """
    allocated, stored = (int(dataset.get(name) or 0) for name in ("BitsAllocated", "BitsStored"))
    shift = int(dataset.get("HighBit", stored - 1)) + 1 - stored
    if allocated not in (8, 16) or not 0 < stored < allocated or shift < 0:
        return
    data = bytes(dataset.PixelData)
    order = "<" if dataset.original_encoding[1] else ">"
    size = allocated // 8
    signed = int(dataset.get("PixelRepresentation") or 0)
    kind = np.dtype(f"{order}{'i' if signed else 'u'}{size}")
    pixels: Any = np.frombuffer(data, kind, len(data) // size).astype(kind.newbyteorder("="))
    above = allocated - stored - shift
    cleared = ((pixels << above) >> (above + shift)) << shift
    if (cleared != pixels).any():
        dataset["PixelData"].value = cleared.astype(kind).tobytes() + data[len(pixels) * size :]


def _blank_header(data: bytearray, start: int, end: int) -> None:
    kind = bytes(data[start : start + 2])
    if kind not in _WORDS:
        return  # no image begins here, or one of another kind
    place = start + 2
    while place + 4 <= end and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in _HEADER_ENDS[kind]:
            return
        if marker == 0xFF:
            place += 1
            continue
        (length,) = struct.unpack_from(">H", data, place + 2)
        if marker in _WORDS[kind]:
            first = place + (
                6 if kind == _JPEG_2000 else 4
            )  # JPEG 2000 says first of what kind its comment is
            last = min(place + 2 + length, end)
            data[first:last] = b" " * max(0, last - first)
        place += 2 + length
