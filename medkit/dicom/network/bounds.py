"""What a file would take to be compared, asked before it is inflated, parsed or decoded."""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import TYPE_CHECKING

from pydicom.uid import DeflatedExplicitVRLittleEndian

from medkit.dicom.findings import Refused
from medkit.dicom.network.encoded import deflated_from

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

    from medkit.dicom.limits import Limits

__all__ = ["check_inflated", "check_length", "check_pixels"]

_ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # beginnings of an item, little and big endian
_MOST_ITEMS = 500_000  # of eight bytes in a file, and of a thousand times as many when they are read
_INFLATED_BYTES = 1 << 28  # of which pydicom holds four copies while it reads them


def check_length(path: Path, limits: Limits) -> None:
    """Refuse a file that is too long to be held.

    Raises:
        Refused: ``too-large``.
    """
    if (size := path.stat().st_size) > limits.series_bytes:
        raise _refused(f"a file of at most {limits.series_bytes} bytes, got {size}")


def check_inflated(content: bytes, limits: Limits) -> None:
    """Refuse a deflated file that grows too far, and one with more items of sequences than any device writes.

    Args:
        content: of a DICOM file (PS3.10).
        limits: how far it may grow.

    Raises:
        Refused: ``too-large``.
        Exception: whatever pydicom and zlib meet in what is no such file.
    """
    if (start := deflated_from(BytesIO(content))) is not None:
        most = min(limits.pixel_bytes(len(content), DeflatedExplicitVRLittleEndian), _INFLATED_BYTES)
        size = len(content)
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(memoryview(content)[start:], most + 1)
        if len(content) > most:
            raise _refused(f"{size} deflated bytes that become at most {most}, got more")
    if (items := max(content.count(beginning) for beginning in _ITEMS)) > _MOST_ITEMS:
        raise _refused(f"at most {_MOST_ITEMS} items of sequences, got {items}")


def check_pixels(dataset: Dataset, size: int, limits: Limits) -> None:
    """Refuse pixels that its bytes cannot hold; nothing of them is decoded.

    Args:
        dataset: an object with its file meta information.
        size: of its file, in bytes.
        limits: how many there may be.

    Raises:
        Refused: ``too-large``.
    """
    rows, columns, samples, bits, frames = (
        int(dataset.get(keyword) or least)
        for keyword, least in (
            ("Rows", 0),
            ("Columns", 0),
            ("SamplesPerPixel", 1),
            ("BitsAllocated", 0),
            ("NumberOfFrames", 1),
        )
    )
    total = rows * columns * samples * bits * frames // 8
    if excess := limits.excess(rows, columns, total, size, dataset.file_meta.TransferSyntaxUID):
        raise _refused(f"{excess}, in {frames} x {rows} x {columns} x {samples} of {bits} bits")


def _refused(text: str) -> Refused:
    return Refused("too-large", f"expected {text}; nothing is decoded")
