"""Stored numbers of the frames of one object, native or compressed (PS3.5 section 8).

What is not whole is refused, as far as decoders tell: see "What cannot be read" in ``docs/dicom.md``.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from pydicom.encaps import generate_frames
from pydicom.uid import RLETransferSyntaxes

from medkit.dicom.codestreams import SIGN_BYTES, codestream_signed
from medkit.dicom.decoding import decoded_frame, decoding_library
from medkit.dicom.findings import Finding, Refused
from medkit.dicom.instance import inflated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from medkit.dicom.format import PixelFormat
    from medkit.dicom.instance import Instance, PixelElement

__all__ = [
    "check_length",
    "pixels_signed",
    "stored_frames",
]

_ITEM, _DELIMITER = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
_END_OF_IMAGE = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000
_SIGN_MISMATCH = Finding(
    "sign-mismatch",
    "compressed pixels and PixelRepresentation differ in whether numbers are signed; they are read as "
    "PixelRepresentation says: check that values are as expected",
)


def stored_frames(instance: Instance, found: PixelFormat, numbers: Iterable[int]) -> Iterator[NDArray[Any]]:
    """The numbers in the file, frame by frame, in the type of their allocated bits and with all of these.

    Args:
        instance: the object.
        found: its format, checked.
        numbers: of the frames wanted, from 1, ascending.

    Yields:
        ``(rows, columns)``, unsigned for whole numbers: what bits mean is for :mod:`medkit.dicom.intensities`.

    Raises:
        Refused: ``truncated``, ``excess-pixels``, ``undecodable`` or ``unknown-syntax``.
    """
    element = instance.pixels
    assert element is not None
    with instance.source.open() as file:
        if element.length is None:
            yield from _encapsulated(instance, found, element, file, numbers)
        else:
            check_length(instance, found)
            yield from _native(instance, found, element, file, numbers)


def check_length(instance: Instance, found: PixelFormat) -> None:
    """Check that native pixels are all there, and nothing behind them.

    Raises:
        Refused: ``truncated``, ``excess-pixels`` or ``undecodable``.
    """
    element = instance.pixels
    if element is None or element.length is None:
        return
    where, expected = instance.source.shown, found.frame_bytes * found.frames
    if decoding_library(instance.transfer_syntax):
        raise Refused(
            "undecodable",
            f"{where}: expected compressed pixels in items, got {element.length} bytes without; export it again",
        )
    there = element.length
    if instance.deflated is None:
        there = min(there, instance.source.size - element.offset)
    if there < expected:
        raise Refused(
            "truncated", f"{where}: expected {expected} bytes of pixels, got {there}; copy or export it again"
        )
    if element.length > expected + expected % 2:
        raise Refused(
            "excess-pixels",
            f"{where}: expected {expected} bytes of pixels for {found.frames} frames of {found.rows} x {found.columns}, "
            f"got {element.length}; its header or its pixels are wrong: export it again",
        )


def _native(
    instance: Instance, found: PixelFormat, element: PixelElement, file: BinaryIO, numbers: Iterable[int]
) -> Iterator[NDArray[Any]]:
    order = "<" if instance.little_endian else ">"
    kind = "f" if found.floating is not None else "u"
    dtype = np.dtype(f"{order}{kind}{found.allocated // 8}")
    whole = None
    if instance.deflated is not None:
        whole = inflated(instance, file, element.offset + found.frame_bytes * found.frames)
    for number in numbers:
        start = element.offset + (number - 1) * found.frame_bytes
        if whole is not None:
            data = whole[start : start + found.frame_bytes]
        else:
            file.seek(start)
            data = file.read(found.frame_bytes)
        if len(data) < found.frame_bytes:
            raise Refused(
                "truncated",
                f"{instance.source.shown}: expected {found.frame_bytes} bytes of pixels in frame {number}, got "
                f"{len(data)}; "
                "copy or export it again",
            )
        if found.allocated == 8 and not instance.little_endian and element.vr == "OW":
            data = _swapped(data)
        frame = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="), copy=False)
        yield frame.reshape(found.rows, found.columns)


def _swapped(data: bytes) -> bytes:
    """Bytes of big-endian words in the order of pixels (PS3.5 section 8.1.1)."""
    if len(data) % 2:
        raise Refused("undecodable", "expected an even number of bytes in words of two, got an odd one")
    return np.frombuffer(data, "<u2").byteswap().tobytes()


def _encapsulated(
    instance: Instance, found: PixelFormat, element: PixelElement, file: BinaryIO, numbers: Iterable[int]
) -> Iterator[NDArray[Any]]:
    where, syntax = instance.source.shown, instance.transfer_syntax
    if not decoding_library(syntax):
        raise Refused(
            "unknown-syntax",
            f"{where}: expected a transfer syntax that can be decoded, got {syntax or 'none'}; convert it "
            "(dcmdjpeg, gdcmconv)",
        )
    file.seek(element.offset)
    data = file.read()
    _check_items(data, where)
    wanted = set(numbers)
    try:
        for number, encoded in enumerate(generate_frames(data, number_of_frames=found.frames), 1):
            if number > found.frames:
                raise Refused(
                    "excess-pixels", f"{where}: expected {found.frames} frames, got more; export it again"
                )
            if number in wanted:
                wanted.remove(number)
                yield _decoded(instance, found, encoded, number)
    except (ValueError, RuntimeError, struct.error, EOFError) as error:
        raise Refused(
            "undecodable",
            f"{where}: expected {syntax.name} pixels, got some that cannot be decoded ({_line(error)}); copy "
            "or convert it",
        ) from error
    if wanted:
        raise Refused(
            "truncated",
            f"{where}: expected {found.frames} frames, got none for {min(wanted)}; copy or export it again",
        )


def _line(error: Exception) -> str:
    """A decoder's words on one line."""
    return " ".join(str(error).split())


def _check_items(data: bytes, where: str) -> None:
    """Walk over the items up to their delimiter: a file that was cut short has none (PS3.5 annex A.4)."""
    place = 0
    while True:
        if place + 8 > len(data):
            raise Refused(
                "truncated",
                f"{where}: expected compressed pixels up to their end, got a file that ends before it; copy it again",
            )
        group, element, length = struct.unpack_from("<HHI", data, place)
        if (group, element) == _DELIMITER:
            return
        if (group, element) != _ITEM:
            raise Refused(
                "undecodable",
                f"{where}: expected items of compressed pixels, got ({group:04x},{element:04x})",
            )
        place += 8 + length


def _decoded(instance: Instance, found: PixelFormat, encoded: bytes, number: int) -> NDArray[Any]:
    syntax = instance.transfer_syntax
    ending = encoded.rstrip(b"\0")
    if syntax not in RLETransferSyntaxes and not (
        ending.endswith(_END_OF_IMAGE) or _END_OF_IMAGE in ending[-16:]
    ):
        raise Refused(
            "truncated",
            f"{instance.source.shown}: expected frame {number} up to the end of its image, got one that is cut "
            "short; copy it again",
        )
    array = decoded_frame(encoded, syntax, found, f"{instance.source.shown}, frame {number}")
    _check_sign(instance, found, encoded, array, number)
    return array.view(f"u{array.dtype.itemsize}")


def _check_sign(
    instance: Instance, found: PixelFormat, encoded: bytes, array: NDArray[Any], number: int
) -> None:
    """Refuse a frame whose image and format differ in what its numbers mean.

    Numbers without their highest bit mean the same, and are noted alone. So are high ones without a sign under a header
    that has one: encoders that know no sign write negative numbers so, and the header is right.
    """
    signed = codestream_signed(encoded)
    if signed in (None, found.signed):
        return
    on_request = found.signed and instance.elements.integer("PixelRepresentation") == 0
    if not on_request:
        instance.elements.notes[_SIGN_MISMATCH] = None
    sign = encoded[SIGN_BYTES - 1] & 0x7F  # bits of the number, less one
    if not (signed or on_request) or not ((array.view(f"u{array.dtype.itemsize}") >> sign) & 1).any():
        return
    where = instance.source.shown
    if on_request:
        raise Refused(
            "sign-mismatch",
            f"{where}: expected numbers with a sign in all frames as in the first, got a JPEG 2000 image in frame "
            f"{number} that has none, and numbers that would become negative; export it again",
        )
    raise Refused(
        "sign-mismatch",
        f"{where}: expected numbers without a sign as PixelRepresentation says, got a JPEG 2000 image in frame {number} "
        "that has one, and negative numbers; export it again, or ask for the repair sign-of-stream",
    )


def pixels_signed(instance: Instance) -> bool | None:
    """Whether the first JPEG 2000 image of an object says that its numbers are signed; ``None`` for others."""
    element = instance.pixels
    if element is None or element.length is not None:
        return None
    with instance.source.open() as file:
        file.seek(element.offset)
        table = file.read(8)  # of offsets, an item of its own
        if len(table) < 8:
            return None
        file.seek(element.offset + 16 + struct.unpack_from("<I", table, 4)[0])
        return codestream_signed(file.read(SIGN_BYTES))
