"""Read the header of one file, within limits, and find its pixels without touching them."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_dataset
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from medkit.dicom.elements import PRIVATE, Elements, tag_of
from medkit.dicom.findings import Finding, Refused

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from medkit.dicom.limits import Limits
    from medkit.dicom.sources import SourceFile

__all__ = ["Instance", "PixelElement", "inflated", "read_instance"]

_KEYWORDS = [
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "Manufacturer",
    "SeriesDescription",
    "BodyPartExamined",
    "AnatomicRegionSequence",
    "PatientID",
    "IssuerOfPatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "SeriesNumber",
    "AcquisitionNumber",
    "InstanceNumber",
    "ImagesInAcquisition",
    "AcquisitionDate",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "ContentTime",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "NumberOfSlices",
    "NumberOfTimeSlices",
    "EchoTime",
    "EchoNumbers",
    "InversionTime",
    "RepetitionTime",
    "FlipAngle",
    "TriggerTime",
    "NominalPercentageOfCardiacPhase",
    "SequenceName",
    "ScanningSequence",
    "PatientPosition",
    "ScanOptions",
    "ConvolutionKernel",
    "KVP",
    "FilterType",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "ContrastBolusAgent",
    "ContrastBolusAgentSequence",
    "ContrastBolusVolume",
    "ContrastBolusTotalDose",
    "FrameReferenceTime",
    "ComplexImageComponent",
    "StackID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "GridFrameOffsetVector",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "FloatPixelPaddingValue",
    "FloatPixelPaddingRangeLimit",
    "DoubleFloatPixelPaddingValue",
    "DoubleFloatPixelPaddingRangeLimit",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ModalityLUTSequence",
    "Units",
    "DoseGridScaling",
    "DoseUnits",
    "DoseType",
    "LossyImageCompression",
    "RealWorldValueMappingSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "DimensionIndexSequence",
    "ConcatenationUID",
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
    "ConceptNameCodeSequence",
    "CurrentRequestedProcedureEvidenceSequence",
]
_TAGS = [
    *(tag_of(name) for name in _KEYWORDS),
    *(tag_of(name) for name in PRIVATE),
    *(
        Tag(block)
        for block in sorted({(tag & 0xFFFF0000) | ((tag & 0xFFFF) >> 8) for tag, _, _ in PRIVATE.values()})
    ),
]
_PIXEL_TAGS = {0x7FE00010: "PixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00008: "FloatPixelData"}
_UNDEFINED = 0xFFFFFFFF
_LONG_VRS = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN"}
# How a data set without a preamble begins: group 0002 or 0008, in either byte order.
_BEGINNINGS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
_DEFLATED = str(DeflatedExplicitVRLittleEndian).encode()
_MARK, _PREAMBLE = b"DICM", 128
_DIRECTORY = "1.2.840.10008.1.3.10"
_SEEN = 4096  # bytes in which the transfer syntax stands


@dataclass(frozen=True)
class PixelElement:
    """Where the pixels lie in a file.

    Args:
        keyword: ``PixelData``, ``FloatPixelData`` or ``DoubleFloatPixelData``.
        vr: as the file says, or that of the standard.
        offset: of the value, in the file, or in the inflated data set.
        length: bytes of the value; ``None`` where they are encapsulated.
    """

    keyword: str
    vr: str
    offset: int
    length: int | None


class Instance:
    """The header of one file.

    Args:
        source: the file.
        dataset: its elements, those that the reader needs.
        pixels: where they are; ``None`` where there are none.
        deflated: bytes before the deflated data set; ``None`` where it is not deflated.
    """

    def __init__(
        self, source: SourceFile, dataset: Dataset, pixels: PixelElement | None, deflated: int | None = None
    ) -> None:
        self.source, self.pixels, self.deflated = source, pixels, deflated
        self.elements = Elements(dataset, source.shown)
        implicit, little = dataset.original_encoding
        self.implicit_vr, self.little_endian = bool(implicit), bool(little)
        meta = getattr(dataset, "file_meta", {})
        self.transfer_syntax = UID(str(meta.get("TransferSyntaxUID", "") or ""))
        self.media_uid = str(meta.get("MediaStorageSOPInstanceUID", "") or "")
        self.media_class = str(meta.get("MediaStorageSOPClassUID", "") or "")
        self.executable = False

    @cached_property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID, or that of the file's preamble; it may be empty."""
        return self.elements.text("SOPInstanceUID") or self.media_uid

    @cached_property
    def sop_class_uid(self) -> str:
        """SOP Class UID, or that of the file's preamble; it may be empty."""
        return self.elements.text("SOPClassUID") or self.media_class

    @cached_property
    def modality(self) -> str:
        """Such as ``CT``; empty where it is missing."""
        return self.elements.text("Modality")

    @cached_property
    def series_number(self) -> int | None:
        """SeriesNumber; ``None`` where it is missing or no number."""
        return self.elements.whole("SeriesNumber")

    @cached_property
    def frames(self) -> int:
        """Number of frames, one where nothing is said."""
        count = self.elements.integer("NumberOfFrames")
        return 1 if count is None else count

    @property
    def notes(self) -> list[Finding]:
        """Remarks on its elements."""
        return list(self.elements.notes)


def read_instance(source: SourceFile, limits: Limits) -> Instance:
    """Read a header.

    Raises:
        Refused: ``empty-file``, ``not-dicom``, ``directory`` (a DICOMDIR), ``truncated`` (it ends in its header),
            ``too-large``, or ``bad-value`` (its series or modality is no text).
        OSError: the file cannot be read.
    """
    with source.open() as file:
        start = file.read(_SEEN)
        if not start.strip(b"\0"):
            got = "0 bytes" if not start else "zeros"
            raise Refused(
                "empty-file", f"{source.shown}: expected a DICOM file, got one of {got}; copy it again"
            )
        bare = start[:4] == _MARK  # without the 128 bytes before it
        marked = start[128:132] == _MARK or bare
        if not marked and start[:2] not in _BEGINNINGS:
            raise Refused("not-dicom", f"{source.shown}: expected a DICOM file, got another kind")
        try:
            instance = _read(source, file, start, limits)
        except Refused:
            raise
        except Exception as error:  # pydicom raises what it meets in broken files
            code, got = ("truncated", "a broken header") if marked else ("not-dicom", "another kind")
            raise Refused(
                code, f"{source.shown}: expected a DICOM file, got {got} ({error}); copy it again"
            ) from error
    if not marked and not instance.elements.text("SOPClassUID"):
        raise Refused("not-dicom", f"{source.shown}: expected a DICOM file, got another kind")
    if instance.media_class == _DIRECTORY:
        raise Refused("directory", f"{source.shown}: expected a DICOM image, got an index of files")
    if not instance.elements.text("SeriesInstanceUID") and instance.pixels is None:
        raise Refused(
            "truncated",
            f"{source.shown}: expected a header with SeriesInstanceUID, got one without; copy it again",
        )
    _ = instance.modality  # raises here, where it is the fault of this file alone
    instance.executable = start[:2] == b"MZ"
    return instance


def inflated(instance: Instance, file: BinaryIO, length: int) -> bytes:
    """The first bytes of a deflated data set, no more than asked for."""
    assert instance.deflated is not None
    file.seek(instance.deflated)
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(), length)


def _read(source: SourceFile, file: BinaryIO, start: bytes, limits: Limits) -> Instance:
    if _DEFLATED in start:
        return _deflated(source, file, start, limits)
    file.seek(0)
    if start[:4] != _MARK:
        return _plain(source, file, source.size)
    beginning = bytes(_PREAMBLE) + file.read(limits.header_bytes)
    limited = len(beginning) - _PREAMBLE == limits.header_bytes
    instance = _plain(source, io.BytesIO(beginning), None if limited else len(beginning))
    if instance.pixels is None:
        _check_header_ended(source, len(beginning) - _PREAMBLE, limits)
        return instance
    instance.pixels = replace(instance.pixels, offset=instance.pixels.offset - _PREAMBLE)
    return instance


def _check_header_ended(source: SourceFile, size: int, limits: Limits) -> None:
    if size == limits.header_bytes:
        raise Refused(
            "too-large",
            f"{source.shown}: expected a header of at most {limits.header_bytes} bytes, got more; "
            "raise the limit if you trust the file",
        )


def _plain(source: SourceFile, file: BinaryIO, size: int | None) -> Instance:
    """Args: ``size``: of the file; ``None`` where it was cut at the limit, and nothing can be said of its end."""
    dataset = dcmread(file, stop_before_pixels=True, force=True, specific_tags=_TAGS)
    implicit, little = dataset.original_encoding
    end = file.tell()
    pixels = _pixel_element(file, bool(implicit), bool(little))
    if pixels is None and size is not None and (end > size or _ends_in_value(dataset)):
        raise Refused(
            "truncated",
            f"{source.shown}: expected a whole header, got a file that ends in it; copy it again",
        )
    return Instance(source, dataset, pixels)


def _ends_in_value(dataset: Dataset) -> bool:
    """Whether the last element was cut short, of which pydicom says nothing."""
    last = dataset.get_item(max(dataset.keys())) if dataset else None
    return (
        isinstance(last, RawDataElement)
        and last.length != _UNDEFINED
        and len(last.value or b"") < last.length
    )


def _deflated(source: SourceFile, file: BinaryIO, start: bytes, limits: Limits) -> Instance:
    """pydicom inflates without a bound: 400 KiB became 850 MB."""
    base = _PREAMBLE + len(_MARK) if start[128:132] == _MARK else len(_MARK) if start[:4] == _MARK else 0
    file.seek(base)
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >= 0x00030000)
    first = file.tell()
    if "FileMetaInformationGroupLength" in meta:
        # 12 bytes of the group length's own element come before those that it counts.
        first = base + 12 + int(meta.FileMetaInformationGroupLength)
    file.seek(first)
    beginning = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(), limits.header_bytes)
    stream = io.BytesIO(beginning)
    dataset = dcmread(stream, stop_before_pixels=True, force=True, specific_tags=_TAGS)
    pixels = _pixel_element(stream, False, True)
    if pixels is None:
        _check_header_ended(source, len(beginning), limits)
    instance = Instance(source, dataset, pixels, deflated=first)
    instance.transfer_syntax = DeflatedExplicitVRLittleEndian
    return instance


def _pixel_element(file: BinaryIO, implicit: bool, little: bool) -> PixelElement | None:
    """The element that pydicom stopped before."""
    offset = file.tell()
    header = file.read(12)
    if len(header) < 8:
        return None
    order = "<" if little else ">"
    group, element = struct.unpack(f"{order}HH", header[:4])
    keyword = _PIXEL_TAGS.get(group << 16 | element)
    if keyword is None:
        return None
    vr, size, length = _vr_and_length(header, implicit, order)
    return PixelElement(keyword, vr, offset + size, None if length == _UNDEFINED else length)


def _vr_and_length(header: bytes, implicit: bool, order: str) -> tuple[str, int, int]:
    """VR, bytes before the value, and its length (PS3.5 section 7.1)."""
    # A file may say that it has implicit VRs and have explicit ones. As lengths these letters would be odd: none is.
    if header[4:6] in _LONG_VRS and header[6:8] == b"\0\0" and len(header) == 12:
        return header[4:6].decode(), 12, struct.unpack(f"{order}I", header[8:12])[0]
    if implicit:
        return "OW", 8, struct.unpack(f"{order}I", header[4:8])[0]
    return header[4:6].decode("latin-1"), 8, struct.unpack(f"{order}H", header[6:8])[0]
