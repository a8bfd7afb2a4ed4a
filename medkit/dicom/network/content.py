"""What an object says, as one hash, whatever way it is encoded: the comparison behind "read back and compared".

An archive may store an object in another transfer syntax, compress it without loss, write its texts in another character
set, order padding and group lengths as it likes, and note where it keeps it. All else that differs is another content.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import ExplicitVRBigEndian

from medkit.dicom.pixels import decoding_plugin

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

__all__ = ["LEFT_ASIDE", "content_hash", "same_content"]

LEFT_ASIDE = {
    "LengthToEnd": "retired, a length in bytes",
    "SpecificCharacterSet": "texts are compared as they are read",
    "RetrieveAETitle": "where the archive keeps it",
    "RetrieveURI": "where the archive keeps it",
    "RetrieveURL": "where the archive keeps it",
    "RetrieveLocationUID": "where the archive keeps it",
    "StorageMediaFileSetID": "where the archive keeps it",
    "StorageMediaFileSetUID": "where the archive keeps it",
    "InstanceAvailability": "how soon the archive gives it out",
    "PlanarConfiguration": "pixels are compared one by one",
    "ExtendedOffsetTable": "where compressed frames begin",
    "ExtendedOffsetTableLengths": "where compressed frames begin",
    "DataSetTrailingPadding": "no content",
}
"""Keywords of what is not compared, and why; besides file meta information, group lengths and padding of values."""

_PIXELS = frozenset(["PixelData", "FloatPixelData", "DoubleFloatPixelData"])
_REVERSIBLE = {"YBR_RCT": "RGB"}  # a transform of lossless JPEG 2000, which decoders undo
_TEXT_VRS = frozenset(["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UC", "UI"])
_LONG_TEXT_VRS = frozenset(["LT", "ST", "UR", "UT"])  # of one value; spaces at its beginning are content
_WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_PADDING = " \0"
_MOST_KNOWN = 1000
_HEADER = 8  # bytes of tag and length in Implicit VR


def content_hash(source: Dataset | Path) -> str:
    """SHA-256 of what an object says, 64 hexadecimal digits.

    Pixels are decoded, one frame at a time. An object that was compressed with loss has another hash than its original.
    Private elements are compared by their bytes.

    A file is read each time, but not decoded again where the same bytes were lately.

    Args:
        source: a DICOM file (PS3.10), or an object with its file meta information.

    Raises:
        Exception: whatever pydicom and its decoders meet in a broken object.
    """
    return _KNOWN.get_or_make(source.read_bytes()) if isinstance(source, Path) else _hash(source)


def _hash(dataset: Dataset) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on values that are compared as they are
        digest = _Digest()
        _add_dataset(digest, dataset, dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian, top=True)
    return digest.hexdigest()


def same_content(one: Path, other: Path) -> bool:
    """Whether two files say the same, however they are encoded; false where one cannot be read."""
    try:
        return content_hash(one) == content_hash(other)
    except Exception:  # whatever pydicom meets in a broken object
        return False


class _Known:
    """What the latest files say, by the SHA-256 of their bytes: a result is asked for when made, sent and read back."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._hashes: OrderedDict[bytes, str] = OrderedDict()

    def get_or_make(self, content: bytes) -> str:
        """The hash of what a file of these bytes says."""
        key = hashlib.sha256(content).digest()
        with self._lock:
            known = self._hashes.get(key)
        if known is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dataset = pydicom.dcmread(BytesIO(content))
            known = _hash(dataset)
            with self._lock:
                self._hashes[key] = known
                while len(self._hashes) > _MOST_KNOWN:
                    self._hashes.popitem(last=False)
        return known


_KNOWN = _Known()


class _Digest:
    """SHA-256 of pieces, each with its length before it, so that no two lists of pieces run into one."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def add(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._sha.update(len(piece).to_bytes(8, "little"))
            self._sha.update(piece)

    def hexdigest(self) -> str:
        return self._sha.hexdigest()


def _add_dataset(digest: _Digest, dataset: Dataset, big_endian: bool, *, top: bool = False) -> None:
    for element in dataset:  # in the order of tags
        if element.tag.element == 0 or element.keyword in LEFT_ASIDE:
            continue
        digest.add(b"element", element.tag.to_bytes(4, "big"))
        if element.VR == "SQ":
            for item in element.value:
                digest.add(b"item")
                _add_dataset(digest, item, big_endian)
                digest.add(b"end of item")
        elif top and element.keyword in _PIXELS and element.value:
            _add_pixels(digest, dataset)
        else:
            digest.add(*_pieces(element, big_endian))


def _add_pixels(digest: _Digest, dataset: Dataset) -> None:
    if dataset.BitsAllocated == 1:  # packed without gaps between frames, which no compression is for
        count = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames") or 1)
        digest.add(dataset.PixelData[: (count + 7) // 8])
        return
    plugin = decoding_plugin(dataset.file_meta.TransferSyntaxUID)
    for frame in iter_pixels(dataset, raw=True, decoding_plugin=plugin):
        # Of one type, since decoders give numbers in as many bits as they please.
        numbers = frame.astype(
            np.dtype("<i8") if frame.dtype.kind in "iub" else frame.dtype.newbyteorder("<")
        )
        digest.add(repr(numbers.shape).encode(), numbers.tobytes())


def _pieces(element: DataElement, big_endian: bool) -> list[bytes]:
    """The values of an element as bytes that do not depend on how it was encoded."""
    value: Any = element.value
    if element.is_empty:
        return []
    if element.tag.is_private:
        return [_written(element).rstrip(_PADDING.encode())]
    if element.VR in _LONG_TEXT_VRS:
        return [str(value).rstrip(_PADDING).encode()]
    if element.VR in _TEXT_VRS:
        texts = [str(part).strip(_PADDING) for part in (value if element.VM > 1 else [value])]
        if element.VR == "PN":
            texts = ["=".join(group.rstrip("^ ") for group in text.split("=")).rstrip("=") for text in texts]
        if element.keyword == "PhotometricInterpretation":
            texts = [_REVERSIBLE.get(text, text) for text in texts]
        return [text.encode("utf-8", "surrogateescape") for text in texts]
    if big_endian and element.VR in _WORDS:
        width = _WORDS[element.VR]
        return [np.frombuffer(value, f">u{width}").astype(f"<u{width}").tobytes()]
    return [_written(element)]


def _written(element: DataElement) -> bytes:
    """The value as Implicit VR Little Endian has it."""
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, True
    write_data_element(file, element)
    return file.getvalue()[_HEADER:]
