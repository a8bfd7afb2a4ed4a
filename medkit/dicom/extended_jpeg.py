"""JPEG pictures that gdcm reads and pydicom's way to it does not: of 12 bits with loss, and of retired processes.

Processes 2 and 4, and 6, 8, 10 and 12, of ITU-T T.81; the latter have had no place in the standard since 2004.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.uid import JPEGExtended12Bit

from medkit.dicom.codestreams import codestream_precision
from medkit.dicom.findings import Refused

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medkit.dicom.format import PixelFormat

__all__ = ["EXTENDED", "extended_frame"]

EXTENDED = frozenset({JPEGExtended12Bit, "1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55"})
_PRECISIONS = (8, 12)


def extended_frame(encoded: bytes, found: PixelFormat, where: str) -> NDArray[Any]:
    """The numbers in a picture.

    Args:
        encoded: one frame.
        found: its format; whole numbers without a sign in the lowest bits are all that the standard knows here
            (PS3.5 section 8.2.1).
        where: how messages call the frame.

    Returns:
        ``(rows, columns)``, unsigned, in the type of the allocated bits.

    Raises:
        Refused: ``bad-pixels`` (a sign, another number of bits, or numbers beyond BitsStored), ``undecodable``.
    """
    precision = codestream_precision(encoded)
    sound = precision in _PRECISIONS and found.allocated == (8 if precision == 8 else 16)
    if not sound or found.signed or found.shift:
        raise Refused(
            "bad-pixels",
            f"{where}: expected JPEG numbers of 8 bits in 8, or of 12 in 16, without a sign and in the lowest bits, got "
            f"{precision} in {found.allocated}, PixelRepresentation {int(found.signed)}, HighBit "
            f"{found.stored - 1 + found.shift} of {found.stored} stored; export it again",
        )
    assert precision is not None
    data = _by_gdcm(encoded, precision, found)
    if len(data) != found.frame_bytes:
        raise Refused(
            "undecodable",
            f"{where}: expected a JPEG picture of {found.frame_bytes} bytes, got one that gdcm cannot decode; copy or "
            "convert it",
        )
    array = np.frombuffer(data, f"<u{found.allocated // 8}").reshape(found.rows, found.columns)
    if int(array.max()) >> found.stored:  # they would be cut off, and a bright pixel be a dark one
        raise Refused(
            "bad-pixels",
            f"{where}: expected numbers of {found.stored} bits as BitsStored says, got {int(array.max())}; "
            "export it again",
        )
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _by_gdcm(encoded: bytes, precision: int, found: PixelFormat) -> bytes:
    """The decoded bytes; none, or too few, where it fails."""
    try:
        import gdcm
    except ImportError:
        return b""
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(encoded)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((found.columns, found.rows, 1))
    image.SetPhotometricInterpretation(
        gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.GetPIType(found.photometric))
    )
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    # Allocated are said to be as many bits as a number has: of 16 it tries another decoder first, and complains aloud.
    image.SetPixelFormat(gdcm.PixelFormat(1, precision, precision, precision - 1, 0))
    image.SetDataElement(element)
    text = image.GetBuffer()  # bytes as text, or None
    return b"" if text is None else bytes(text.encode("utf-8", "surrogateescape"))
