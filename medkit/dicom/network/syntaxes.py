"""Transfer syntaxes that images are negotiated in: those that the reader knows."""

from __future__ import annotations

from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLETransferSyntaxes,
)

from medkit.dicom.extended_jpeg import EXTENDED

__all__ = ["COMPRESSED", "NATIVE", "PLAIN"]

PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""What every archive can be sent, the better one first: Implicit VR loses the types of private elements."""

NATIVE = (*PLAIN, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
"""Without compression of pixels, in the order in which a node chooses."""

COMPRESSED = (
    *JPEGLSTransferSyntaxes,
    *JPEG2000TransferSyntaxes,
    *JPEGTransferSyntaxes,
    *sorted(UID(syntax) for syntax in EXTENDED.difference(JPEGTransferSyntaxes)),
    *RLETransferSyntaxes,
)
"""With compression of pixels, without loss and with."""
