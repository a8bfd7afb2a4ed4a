"""Take what is no pixel out of pixel data: what decoders pass over in compressed images, and bits beside stored ones.

Nothing moves: zeros are written over what is not needed, so that lengths and offsets stay right. Of the segments of an
image those stay that decoding needs; of any other kind nobody knows what is in it.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.encaps import generate_fragmented_frames

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["blank_leftovers", "clear_unused_bits"]

_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"
_JPEG, _JPEG_2000 = b"\xff\xd8", b"\xff\x4f"
# Frames, Huffman and quantization tables and the like (ITU-T T.81, table B.1); of JPEG-LS frame and parameters (T.87).
_JPEG_KEPT = {*range(0xC0, 0xC8), *range(0xC9, 0xD0), *range(0xDA, 0xE0), 0xF7, 0xF8}
# Size, coding, quantization, regions, order, packed headers and lengths (ITU-T T.800, table A.2; T.814, A.2).
_JPEG_2000_KEPT = {0x50, 0x51, 0x52, 0x53, 0x55, 0x57, 0x58, 0x59, *range(0x5C, 0x62), 0x63}
# Of application segments what tells colours: JFIF without its thumbnail, and Adobe's.
_COLOURS, _COLOUR_BYTES = {0xE0: b"JFIF\0", 0xEE: b"Adobe"}, 12
_RUNS_HEADER = 64  # bytes
_SCAN, _END, _TILE, _DATA = 0xDA, 0xD9, 0x90, 0x93
# In coded data: neither a stuffed byte nor a restart.
_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")


def blank_leftovers(encapsulated: bytes, frames: int, pixels: int) -> bytes:
    """Write zeros over what decoding does not need: comments, applications' segments, what lies behind an image.

    Args:
        encapsulated: items of a Pixel Data element (PS3.5 annex A.4), of JPEG, JPEG-LS, JPEG 2000 or run lengths.
        frames: how many there are.
        pixels: of a frame.

    Raises:
        ValueError: other frames, frames of another kind (movies, JPEG 2000 in boxes), or such as end before their end.
    """
    data = bytearray(encapsulated)
    table, *places = _items(data)
    found = list(generate_fragmented_frames(encapsulated, number_of_frames=frames))
    offsets = np.frombuffer(data[slice(*table)], "<u4").tolist()
    starts = {start - places[0][0] for start, _ in places}
    if len(found) != frames or sum(map(len, found)) != len(places) or not set(offsets) <= starts:
        raise ValueError("other frames than the header says")
    for fragments in found:
        own, places = places[: len(fragments)], places[len(fragments) :]
        frame = bytearray(b"".join(fragments))
        _blank_frame(frame, pixels)
        for start, end in own:
            data[start:end] = frame[: end - start]
            del frame[: end - start]
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


def _items(data: bytearray) -> list[tuple[int, int]]:
    """Where the values of the items begin and end, the table of offsets first."""
    found, place = [], 0
    while place + 8 <= len(data) and data[place : place + 4] == _ITEM:
        (length,) = struct.unpack_from("<I", data, place + 4)
        found.append((place + 8, place + 8 + length))
        place += 8 + length
    if not found or data[place:] not in (b"", _DELIMITER):
        raise ValueError("no items, or other bytes behind them")
    return found


def _blank_frame(frame: bytearray, pixels: int) -> None:
    if frame.startswith(_JPEG):
        end = _blank_jpeg(frame)
    elif frame.startswith(_JPEG_2000):
        end = _blank_jpeg_2000(frame)
    else:
        end = _blank_run_lengths(frame, pixels)
    _blank(frame, end, len(frame))


def _blank(frame: bytearray, start: int, end: int) -> None:
    frame[start:end] = bytes(max(0, end - start))


def _blank_jpeg(frame: bytearray) -> int:
    """Gives where the image ends."""
    marker, place = _blank_segments(frame, 2, _JPEG_KEPT, {_SCAN, _END})
    while marker == _SCAN:
        _, behind = _segment(frame, place)
        following = _MARKER.search(frame, behind)
        if following is None:
            raise ValueError("no end of an image")
        marker, place = _blank_segments(frame, following.start(), _JPEG_KEPT, {_SCAN, _END})
    return place + 2


def _blank_jpeg_2000(frame: bytearray) -> int:
    """Gives where the image ends."""
    marker, place = _blank_segments(frame, 2, _JPEG_2000_KEPT, {_TILE, _END})
    while marker == _TILE:
        _, behind = _segment(frame, place)
        _, data = _blank_segments(frame, behind, _JPEG_2000_KEPT, {_DATA})
        (length,) = struct.unpack_from(">I", frame, place + 6)
        place = place + length if length else frame.rfind(bytes([0xFF, _END]))
        if place <= data:
            raise ValueError("a part of an image that ends before it begins")
        marker, place = _blank_segments(frame, place, set(), {_TILE, _END})
    return place + 2


def _blank_segments(frame: bytearray, place: int, kept: set[int], ends: set[int]) -> tuple[int, int]:
    """Blank the segments up to one of the markers that end them; gives that and its place."""
    while True:
        while frame[place : place + 2] == b"\xff\xff":
            place += 1
        if len(frame) < place + 2 or frame[place] != 0xFF:
            raise ValueError("no marker where one is due")
        marker = frame[place + 1]
        if marker in ends:
            return marker, place
        first, behind = _segment(frame, place)
        if marker not in kept:
            _blank(frame, first + _told_of_colours(frame, marker, first, behind), behind)
        place = behind


def _segment(frame: bytearray, place: int) -> tuple[int, int]:
    """Where what a segment holds begins and ends."""
    length = int.from_bytes(frame[place + 2 : place + 4], "big")
    if length < 2 or place + 2 + length > len(frame):
        raise ValueError("a segment that does not end")
    return place + 4, place + 2 + length


def _told_of_colours(frame: bytearray, marker: int, first: int, behind: int) -> int:
    """How many bytes of a segment tell them."""
    known = _COLOURS.get(marker)
    return _COLOUR_BYTES if known and frame[first:behind].startswith(known) else 0


def _blank_run_lengths(frame: bytearray, pixels: int) -> int:
    """Blank what is between the segments (PS3.5 annex G); gives where the last one ends."""
    if len(frame) < _RUNS_HEADER:
        raise ValueError("no image of a known kind")
    count, *offsets = struct.unpack_from("<16I", frame)
    if not 1 <= count < 16 or offsets[0] != _RUNS_HEADER:
        raise ValueError("no image of a known kind")
    _blank(frame, 4 + 4 * count, _RUNS_HEADER)
    end = _RUNS_HEADER
    for start, limit in zip(offsets[:count], [*offsets[1:count], len(frame)], strict=True):
        end = _end_of_runs(frame, start, limit, pixels)
        _blank(frame, end, limit)
    return end


def _end_of_runs(frame: bytearray, place: int, limit: int, pixels: int) -> int:
    made = 0
    while made < pixels:
        if place >= limit or limit > len(frame):
            raise ValueError("run lengths that end too early")
        control = frame[place]
        if control < 128:
            place, made = place + 2 + control, made + control + 1
        elif control > 128:
            place, made = place + 2, made + 257 - control
        else:
            place += 1
    if place > limit:
        raise ValueError("run lengths that end too early")
    return place
