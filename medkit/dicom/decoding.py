"""One compressed frame, by the one decoder that its transfer syntax has here."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLETransferSyntaxes,
)

from medkit.dicom.codestreams import check_jpeg, codestream_size, open_ended
from medkit.dicom.extended_jpeg import EXTENDED, extended_frame
from medkit.dicom.findings import Refused

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medkit.dicom.format import PixelFormat

__all__ = ["decoded_frame", "decoding_library"]

_GDCM = "gdcm"
_HTJ2K = {"1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"}
# One decoder each, the one that gave the right numbers for every file tried, so that results do not depend on luck.
_LIBRARIES: dict[str, str] = {
    **dict.fromkeys((*JPEG2000TransferSyntaxes, *_HTJ2K), "pylibjpeg"),
    **dict.fromkeys(JPEGLSTransferSyntaxes, "pyjpegls"),
    **dict.fromkeys((*JPEGTransferSyntaxes, *EXTENDED), _GDCM),
    **dict.fromkeys(RLETransferSyntaxes, "pydicom"),
}


def decoding_library(transfer_syntax: str) -> str:
    """The name of what decodes a compressed transfer syntax here, a plugin of pydicom; empty for a native one."""
    return _LIBRARIES.get(transfer_syntax, "")


def decoded_frame(
    encoded: bytes,
    syntax: UID,
    found: PixelFormat,
    where: str,
    *,
    samples: int = 1,
    planar: int = 0,
    correct_unused_bits: bool = False,
) -> NDArray[Any]:
    """The numbers in one compressed frame.

    JPEG that pydicom does not have decoded, see :mod:`medkit.dicom.extended_jpeg`, goes to gdcm itself, if it is grey.
    Of grey JPEG whose data were cut short nothing is made up, but for progressive pictures and the last few bytes.

    Args:
        encoded: the frame.
        syntax: its transfer syntax, of those that have a :func:`decoding_library`.
        found: its format; the number of frames does not matter.
        where: how messages call the frame.
        samples: of a pixel.
        planar: PlanarConfiguration, where there are several.
        correct_unused_bits: let bits above BitsStored follow from those below.

    Returns:
        ``(rows, columns)``, or ``(rows, columns, samples)``.

    Raises:
        Refused: ``undecodable``, or ``bad-pixels``: a picture of another size, or of numbers that the format cannot be.
        Exception: whatever pydicom and its decoders meet in a broken picture.
    """
    _check_size(encoded, found, where)
    if decoding_library(syntax) == _GDCM:
        check_jpeg(encoded, where, samples)
        encoded = open_ended(encoded) if samples == 1 else encoded
    if syntax in EXTENDED and samples == 1:
        return extended_frame(encoded, found, where)
    # Fragmented and alone, so that the decoder sees one frame and no more of the file.
    item = b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\x00\xe0" + struct.pack("<I", len(encoded)) + encoded
    options: Any = {
        "rows": found.rows,
        "columns": found.columns,
        "number_of_frames": 1,
        "samples_per_pixel": samples,
        "bits_allocated": found.allocated,
        "bits_stored": found.stored,
        "photometric_interpretation": found.photometric,
        "pixel_representation": int(found.signed),
        "pixel_keyword": "PixelData",
        "correct_unused_bits": correct_unused_bits,
    }
    if samples > 1:
        options["planar_configuration"] = planar
    array, _ = get_decoder(syntax).as_array(
        item + b"\xfe\xff\xdd\xe0\x00\x00\x00\x00",
        raw=True,
        index=0,
        decoding_plugin=decoding_library(syntax),
        **options,
    )
    return array


def _check_size(encoded: bytes, found: PixelFormat, where: str) -> None:
    size = codestream_size(encoded)
    if size is not None and size != (found.rows, found.columns):
        raise Refused(
            "bad-pixels",
            f"{where}: expected {found.rows} x {found.columns} pixels, got an image of {size[0]} x {size[1]}; export it "
            "again",
        )
