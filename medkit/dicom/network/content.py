"""What an object says, as one hash, whatever way it is encoded: the comparison behind "read back and compared".

An archive may store an object in another transfer syntax, compress it without loss, write its texts in another character
set, order padding and group lengths as it likes, and note where it keeps it. All else that differs is another content.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from pydicom.charset import convert_encodings
from pydicom.dataelem import RawDataElement
from pydicom.encaps import generate_frames
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.pixels.utils import iter_pixels
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian

from medkit.dicom.decoding import decoded_frame, decoding_library
from medkit.dicom.elements import Elements
from medkit.dicom.findings import Refused
from medkit.dicom.format import whole_numbers
from medkit.dicom.limits import Limits
from medkit.dicom.network.bounds import check_inflated, check_length, check_pixels
from medkit.dicom.network.quiet import keep_quiet
from medkit.dicom.network.syntaxes import NATIVE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from pydicom import DataElement, Dataset

__all__ = ["LEFT_ASIDE", "content_hash", "note_content", "same_content"]

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
_PLAIN_TEXT = re.compile(rb"(?:(?:^|\\) *[!-\[\]-}][ -\[\]-}]*)+\0*")
# Values that pydicom reads off their bytes as they are: what it would make of them is not worth its time.
_PLAIN = {
    "UI": re.compile(rb"(?:(?:^|\\)[0-9.]+)+[ \0]*"),
    "DS": re.compile(rb"(?:(?:^|\\) *[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})? *)+\0*"),
    "IS": re.compile(rb"(?:(?:^|\\) *[+-]?[0-9]{1,9} *)+\0*"),
    **dict.fromkeys(("AE", "AS", "CS", "DA", "DT", "LO", "SH", "TM", "UC"), _PLAIN_TEXT),
}
_WHOLE_NUMBERS = {"US": 2, "SS": 2, "UL": 4, "SL": 4}
_NEVER_PLAIN = frozenset(map(Tag, (*LEFT_ASIDE, "PhotometricInterpretation")))
_CHARACTER_SET = Tag("SpecificCharacterSet")
# Bits of a tag, whose own properties take three times as long, and are asked of every element.
_PRIVATE_GROUP, _ELEMENT = 0x10000, 0xFFFF
_WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_PADDING = " \0"
_DEFAULT_REPERTOIRE = frozenset(
    ["", "ISO_IR 6", "ISO 2022 IR 6"]
)  # which has no letters above 0x7F (PS3.5, 6.1.2.1)
_LOOKS_LIKE_TEXT = re.compile(rb"[\t\n\f\r\x1b\x20-\x7e\x80-\xff]*")
_UNREADABLE = "\ufffd"  # what pydicom puts in the place of bytes that its character set does not have
_MOST_KNOWN = 1000
_LIMITS = Limits(series_bytes=1 << 30)  # the service compares files, and nobody bounds its memory
_HEADER = 8  # bytes of tag and length in Implicit VR


def content_hash(source: Dataset | Path) -> str:
    """SHA-256 of what an object says, 64 hexadecimal digits.

    Pixels are decoded, one frame at a time. An object that was compressed with loss has another hash than its original.
    Private elements are compared by their bytes; padding behind their texts does not count. Letters above 0x7F count as
    bytes where no character set says which they are.

    A file is read each time, but not decoded again where the same bytes were lately.

    Args:
        source: a DICOM file (PS3.10), or an object with its file meta information.

    Raises:
        Refused: ``unknown-syntax``: pixels of one bit, compressed.
        Exception: whatever pydicom and its decoders meet in a broken object.
    """
    return _KNOWN.get_or_make(source) if isinstance(source, Path) else _hash(source)


def _hash(dataset: Dataset) -> str:
    keep_quiet()
    digest, big_endian = _Digest(), dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    _add_dataset(digest, dataset, _Encoding(big_endian), top=True)
    return digest.hexdigest()


def same_content(one: Path, other: Path, limits: Limits = _LIMITS) -> bool:
    """Whether two files say the same, however they are encoded; false where one cannot be read or is beyond the limits.

    Anybody may have sent them: how much they would take is asked before they are inflated or decoded.

    Args:
        one: a DICOM file (PS3.10).
        other: such a file.
        limits: of each; ``series_bytes`` is of the file, of its pixels, and of what it is inflated to.
    """
    try:
        return _KNOWN.get_or_make(one, limits) == _KNOWN.get_or_make(other, limits)
    except Exception:  # whatever pydicom meets in a broken object
        return False


def note_content(digest: str, content: str) -> None:
    """Note what a file says, as another process with the same medkit found, so that it is not decoded here too.

    Args:
        digest: SHA-256 of its bytes, hexadecimal; of those that lie here.
        content: its :func:`content_hash`.
    """
    _KNOWN.note(bytes.fromhex(digest), content)


class _Known:
    """What the latest files say, by the SHA-256 of their bytes: a result is asked for when made, sent and read back."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._hashes: OrderedDict[bytes, str] = OrderedDict()

    def get_or_make(self, path: Path, limits: Limits | None = None) -> str:
        """The hash of what a file says, where it is within the limits, if there are any."""
        if limits is not None:
            check_length(path, limits)
        content = path.read_bytes()
        key = hashlib.sha256(content).digest()
        with self._lock:
            known = self._hashes.get(key)
        if known is None:
            keep_quiet()
            if limits is not None:
                check_inflated(content, limits)
            dataset = pydicom.dcmread(BytesIO(content))
            if limits is not None:
                check_pixels(dataset, len(content), limits)
            known = _hash(dataset)
            self.note(key, known)
        return known

    def note(self, key: bytes, known: str) -> None:
        """Keep a hash, and let the oldest go."""
        with self._lock:
            self._hashes[key] = known
            while len(self._hashes) > _MOST_KNOWN:
                self._hashes.popitem(last=False)


_KNOWN = _Known()


class _Digest:
    """SHA-256 of pieces, each with its length before it, so that no two lists of pieces run into one."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def add(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._sha.update(len(piece).to_bytes(8, "little"))
            self._sha.update(piece)

    def add_numbers(self, numbers: NDArray[Any], kind: np.dtype[Any]) -> None:
        """One piece: numbers in a type, row by row, for in eight bytes each they may be many times what they were."""
        self._sha.update((numbers.size * kind.itemsize).to_bytes(8, "little"))
        for row in numbers:
            self._sha.update(row.astype(kind, order="C").data)

    def hexdigest(self) -> str:
        return self._sha.hexdigest()


@dataclass(frozen=True)
class _Encoding:
    """How values stand in an object.

    Args:
        big_endian: in this order of bytes.
        character_sets: values of Specific Character Set that hold for the texts.
    """

    big_endian: bool
    character_sets: Sequence[str] = ()

    def within(self, dataset: Dataset) -> _Encoding:
        """That of an object or an item, which may have character sets of its own."""
        if _CHARACTER_SET not in dataset:
            return self
        named = dataset.SpecificCharacterSet or ""
        return replace(self, character_sets=[named] if isinstance(named, str) else list(named))

    @property
    def names_letters(self) -> bool:
        """Whether letters above 0x7F have a meaning."""
        return not _DEFAULT_REPERTOIRE.issuperset(self.character_sets)


def _add_dataset(digest: _Digest, dataset: Dataset, outer: _Encoding, *, top: bool = False) -> None:
    encoding = outer.within(dataset)
    for tag in sorted(dataset.keys(), key=int):
        raw = dataset.get_item(tag)  # before it is read, and its bytes are gone
        plain = _plain_pieces(raw)
        if plain is not None:
            digest.add(b"element", tag.to_bytes(4, "big"), *plain)
            continue
        element = dataset[tag]
        if element.tag.element == 0 or element.keyword in LEFT_ASIDE:
            continue
        digest.add(b"element", element.tag.to_bytes(4, "big"))
        if element.VR == "SQ":
            for item in element.value:
                digest.add(b"item")
                _add_dataset(digest, item, encoding)
                digest.add(b"end of item")
        elif top and element.keyword in _PIXELS and element.value:
            _add_pixels(digest, dataset, element)
        else:
            digest.add(*_pieces(element, raw, encoding))


def _add_pixels(digest: _Digest, dataset: Dataset, element: DataElement) -> None:
    syntax = dataset.file_meta.TransferSyntaxUID
    if dataset.BitsAllocated == 1:  # packed without gaps between frames
        if syntax not in NATIVE:
            raise Refused(
                "unknown-syntax",
                f"expected pixels of one bit without compression, got {syntax.name}; have them stored without",
            )
        count = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames") or 1)
        packed = np.frombuffer(element.value, np.uint8)
        if syntax == ExplicitVRBigEndian and element.VR == "OW":
            packed = packed.view(np.uint16).byteswap().view(np.uint8)
        digest.add(packed[: (count + 7) // 8].tobytes())
        return
    for frame in _frames(dataset, element):
        digest.add(repr(frame.shape).encode())
        # Of one type, since decoders give numbers in as many bits as they please.
        kind = np.dtype("<i8") if frame.dtype.kind in "iub" else frame.dtype.newbyteorder("<")
        digest.add_numbers(frame, kind)


def _frames(dataset: Dataset, element: DataElement) -> Iterator[NDArray[Any]]:
    """Frames by the way that images are read; native ones, and those that nothing here decodes, as pydicom has them."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if not decoding_library(syntax):
        yield from iter_pixels(dataset, raw=True)
        return
    elements = Elements(dataset, "an object")
    rows, columns, frames = int(dataset.Rows), int(dataset.Columns), int(dataset.get("NumberOfFrames") or 1)
    found = whole_numbers(elements, rows, columns, frames, dataset.PhotometricInterpretation)
    for encoded in generate_frames(element.value, number_of_frames=frames):
        yield decoded_frame(
            encoded,
            syntax,
            found,
            elements.where,
            samples=int(dataset.SamplesPerPixel),
            planar=int(dataset.get("PlanarConfiguration") or 0),
            correct_unused_bits=True,
        )


def _pieces(element: DataElement, raw: Any, encoding: _Encoding) -> list[bytes]:
    """The values of an element as bytes that do not depend on how it was encoded."""
    if element.is_empty:
        return []
    if encoding.big_endian and element.VR in _WORDS:
        width = _WORDS[element.VR]
        return [np.frombuffer(element.value, f">u{width}").astype(f"<u{width}").tobytes()]
    if element.tag.is_private:
        return [_private(element, raw, encoding)]
    if element.VR in _LONG_TEXT_VRS or element.VR in _TEXT_VRS:
        texts = _texts(element)
        if isinstance(raw, RawDataElement) and raw.value and any(_UNREADABLE in text for text in texts):
            return [b"unreadable", raw.value.rstrip(_PADDING.encode())]
        return [_marked(text, encoding) for text in texts]
    return [_written(element)]


def _plain_pieces(raw: Any) -> list[bytes] | None:
    """What :func:`_pieces` says of an element, off its bytes; ``None`` where that takes more than these."""
    if not isinstance(raw, RawDataElement) or not raw.is_little_endian or not raw.value or raw.VR is None:
        return None
    if raw.tag & _PRIVATE_GROUP or not raw.tag & _ELEMENT or raw.tag in _NEVER_PLAIN:
        return None
    if raw.VR in _WHOLE_NUMBERS:
        return None if len(raw.value) % _WHOLE_NUMBERS[raw.VR] else [raw.value]
    if raw.VR not in _PLAIN or not _PLAIN[raw.VR].fullmatch(raw.value):
        return None
    return [part.strip(_PADDING.encode()) for part in raw.value.split(b"\\")]


def _texts(element: DataElement) -> list[str]:
    value: Any = element.value
    if element.VR in _LONG_TEXT_VRS:
        return [str(value).rstrip(_PADDING)]
    texts = [str(part).strip(_PADDING) for part in (value if element.VM > 1 else [value])]
    if element.VR == "PN":
        return ["=".join(group.rstrip("^ ") for group in text.split("=")).rstrip("=") for text in texts]
    if element.keyword == "PhotometricInterpretation":
        return [_REVERSIBLE.get(text, text) for text in texts]
    return texts


def _marked(text: str, encoding: _Encoding) -> bytes:
    """A text, told from one with the same letters where nothing says which letters its bytes are."""
    mark = b"" if text.isascii() or encoding.names_letters else b"\0of no character set\0"
    return mark + text.encode("utf-8", "surrogateescape")


def _private(element: DataElement, raw: Any, encoding: _Encoding) -> bytes:
    """A value of which nobody may know the type, which is UN where it came in Implicit VR.

    Numbers count to their last byte; of texts, and of what may be one, the padding is made as the standard has it.
    """
    is_text = element.VR in _TEXT_VRS or element.VR in _LONG_TEXT_VRS
    if is_text and isinstance(raw, RawDataElement) and raw.value:
        written = raw.value
    else:
        written = _written(element, convert_encodings(list(encoding.character_sets) or None))
    if not is_text and not (element.VR in ("OB", "UN") and _LOOKS_LIKE_TEXT.fullmatch(written)):
        return written
    text = written.rstrip(_PADDING.encode())
    return text + (b"\0" if element.VR == "UI" else b" ") * (len(text) % 2)


def _written(element: DataElement, encodings: list[str] | None = None) -> bytes:
    """The value as Implicit VR Little Endian has it."""
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, True
    write_data_element(file, element, encodings)
    return file.getvalue()[_HEADER:]
