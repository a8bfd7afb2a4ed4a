"""The images that a result is about: their headers, their places, and what identifies them."""

from __future__ import annotations

import io
import warnings
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import IO, TYPE_CHECKING

import numpy as np
import pydicom
from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence
from pydicom import Dataset
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage
from pydicom.valuerep import DS

from medkit.data.grid import SAME_PLACE_VOXELS, Grid, flip_lps_ras
from medkit.data.volume import Volume
from medkit.dicom.deidentification import check_deidentifiable, clean_elements
from medkit.dicom.elements import Elements
from medkit.dicom.findings import Refused
from medkit.dicom.writing.uids import derived_uid
from medkit.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from medkit.dicom.confidentiality import Deidentifier
    from medkit.dicom.findings import Finding
    from medkit.dicom.result import SeriesVolume

__all__ = ["Source", "identifying", "open_source"]

_PATIENT = "PATIENT"
_MARK = b"DICM"
_SAME_COSINES = 0.01  # more than rounding, less than half a degree
# What a stand-in takes over as it is: the scanner, and what was lost on the way.
_KEPT = (
    *("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceSerialNumber", "InstitutionName"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
)
# Whose images these are. highdicom wants these to be there and well-formed; what the source has is copied afterwards,
# letter by letter.
_RECORDS = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
_SAME_IN_ALL = (*_RECORDS, "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_IN_EACH = ("SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_COMMON = [Tag(name) for name in sorted({*_SAME_IN_ALL, *_IN_EACH, "SpecificCharacterSet"})]
_DATES = ("SeriesDate", "AcquisitionDate", "ContentDate", "StudyDate")
_NO_DATE = ("19000101", "000000")


@dataclass(frozen=True, eq=False)
class Source:
    """A volume with the headers of its images.

    Args:
        volume: the volume.
        headers: of its slices, in the order of the array's third axis, without pixels; frames of one object share one.
        edition: of results, see :func:`open_source`.
    """

    volume: SeriesVolume
    headers: tuple[Dataset, ...]
    edition: int = 0

    @property
    def header(self) -> Dataset:
        """The header of the first slice, for what all have in common."""
        return self.headers[0]

    @cached_property
    def identity(self) -> str:
        """What tells this volume from others: SOP instances, frames, voxels and their places; and the edition."""
        frames = [f"{frame.sop_instance_uid} {frame.frame}" for frame in self.volume.frames]
        shape = self.volume.array.shape
        voxels = Volume(self.volume.array, Grid((shape[0], shape[1], shape[2]), self.volume.affine))
        edition = [f"edition {self.edition}"] if self.edition else []
        return derived_uid(self.volume.series_instance_uid, *frames, voxels.sha256(), *edition)

    @cached_property
    def instances(self) -> dict[str, str]:
        """SOP Instance UID to SOP Class UID of every image, in the order of the slices."""
        return {str(header.SOPInstanceUID): str(header.SOPClassUID) for header in self.headers}

    @cached_property
    def moment(self) -> tuple[str, str]:
        """Date and time for results: those of the source, since a repeat has to be the same object.

        The first of series, acquisition, content and study that has a date; the year 1900 where none has.
        """
        for name in _DATES:
            date = str(self.header.get(name) or "")
            if len(date) == 8 and date.isascii() and date.isdigit():
                time = str(self.header.get(name.replace("Date", "Time")) or "")
                return date, time if time[:6].isdigit() and len(time) >= 6 else _NO_DATE[1]
        return _NO_DATE

    @property
    def number(self) -> int | None:
        """The series' number; ``None`` where it has none, as the reader sees it."""
        return Elements(self.header, self.volume.called).whole("SeriesNumber")

    def series_number(self, offset: int) -> int:
        """Number for a series of results: the source's, with two more digits."""
        return max(self.number or 0, 0) % 10**7 * 100 + offset

    def plane_positions(self) -> list[PlanePositionSequence]:
        """Where each slice lies."""
        return [PlanePositionSequence(_PATIENT, corner.tolist()) for corner in self.corners]

    def plane_orientation(self) -> PlaneOrientationSequence:
        """How the slices lie."""
        return PlaneOrientationSequence(_PATIENT, self.cosines)

    def pixel_measures(self) -> PixelMeasuresSequence:
        """Edges of the voxels: the distance of slices as it is, their thickness as the source states it."""
        return PixelMeasuresSequence(self._pixel_spacing, self._thickness, self._slice_distance)

    @cached_property
    def stand_ins(self) -> list[Dataset]:
        """One header a slice for highdicom: of single-frame images with just what it reads, in good form.

        Real headers lack what the standard asks for, or keep it in other places. SOP Instance UIDs are numbers of
        slices; :meth:`restore_references` puts the source's own in their place.
        """
        first, found = self.stand_in(), []
        for number, corner in enumerate(self.corners):
            other = Dataset({element.tag: element for element in first.elements()})
            other.add_new("SOPInstanceUID", "UI", _slice_uid(number))
            other.add_new("ImagePositionPatient", "DS", [DS(value, auto_format=True) for value in corner])
            found.append(other)
        return found

    def stand_in(self) -> Dataset:
        """The header of the first slice in the form of :attr:`stand_ins`, to be changed freely."""
        source, stand_in = self.header, Dataset()
        for name in _KEPT:
            if name in source:
                stand_in[name] = source[name]
        for name in _RECORDS:
            setattr(stand_in, name, None)
        stand_in.SOPClassUID = CTImageStorage
        stand_in.SOPInstanceUID = _slice_uid(0)
        stand_in.StudyInstanceUID = source.StudyInstanceUID
        stand_in.SeriesInstanceUID = source.SeriesInstanceUID
        stand_in.FrameOfReferenceUID = source.FrameOfReferenceUID
        stand_in.PositionReferenceIndicator = source.get("PositionReferenceIndicator")
        stand_in.Modality = self.volume.modality
        stand_in.Columns, stand_in.Rows = self.volume.array.shape[:2]
        stand_in.ImageOrientationPatient = [DS(value, auto_format=True) for value in self.cosines]
        stand_in.ImagePositionPatient = [DS(value, auto_format=True) for value in self.corners[0]]
        stand_in.PixelSpacing = [DS(value, auto_format=True) for value in self._pixel_spacing]
        stand_in.SliceThickness = DS(self._thickness, auto_format=True)
        stand_in.SpacingBetweenSlices = DS(self._slice_distance, auto_format=True)
        return stand_in

    def restore_references(self, dataset: Dataset) -> None:
        """Let an object that was made from the stand-ins refer to the source's own images and frames."""
        found = {
            id(reference): reference  # segments of one slice share the item
            for item in dataset.get("PerFrameFunctionalGroupsSequence", ())
            for derivation in item.get("DerivationImageSequence", ())
            for reference in derivation.get("SourceImageSequence", ())
        }
        for reference in found.values():
            self._restore(reference)
        if "SourceImageSequence" in dataset:
            dataset.SourceImageSequence = list(self.references())
        if "ReferencedSeriesSequence" in dataset:
            dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence = list(self.references())

    def references(self) -> Iterator[Dataset]:
        """An item of an SOP Instance Reference macro for every image."""
        for instance, sop_class in self.instances.items():
            item = Dataset()
            item.ReferencedSOPClassUID = sop_class
            item.ReferencedSOPInstanceUID = instance
            yield item

    def _restore(self, reference: Dataset) -> None:
        number = _slice_number(reference.ReferencedSOPInstanceUID)
        header, frame = self.headers[number], self.volume.frames[number]
        reference.ReferencedSOPClassUID = header.SOPClassUID
        reference.ReferencedSOPInstanceUID = header.SOPInstanceUID
        if int(header.get("NumberOfFrames") or 1) > 1:
            reference.ReferencedFrameNumber = frame.frame

    @cached_property
    def corners(self) -> list[NDArray[np.float64]]:
        """Where the first voxel of each slice lies, in LPS millimetres."""
        lps = flip_lps_ras(self.volume.affine)
        return [(lps @ (0, 0, number, 1))[:3] for number in range(len(self.headers))]

    @cached_property
    def cosines(self) -> list[float]:
        """Direction of the rows, then of the columns, in LPS."""
        axes = flip_lps_ras(self.volume.affine)[:3, :2]
        cosines: list[float] = (axes / np.linalg.norm(axes, axis=0)).T.ravel().tolist()
        return cosines

    @cached_property
    def _pixel_spacing(self) -> tuple[float, float]:
        """From row to row, and from column to column."""
        columns, rows, _ = np.linalg.norm(self.volume.affine[:3, :3], axis=0)
        return float(rows), float(columns)

    @cached_property
    def _slice_distance(self) -> float:
        """Along the normal."""
        affine = self.volume.affine[:3, :3]
        normal = np.cross(affine[:, 0], affine[:, 1])
        return float(abs(affine[:, 2] @ normal / np.linalg.norm(normal)))

    @cached_property
    def _thickness(self) -> float:
        groups = _groups(self.header, self.volume.frames[0].frame, "PixelMeasuresSequence")
        for place in (*groups, self.header):
            try:
                thickness = float(place.get("SliceThickness") or 0)
            except (ValueError, TypeError):
                continue
            if thickness > 0:
                return thickness
        return self._slice_distance


def open_source(volume: SeriesVolume, edition: int = 0, deidentifier: Deidentifier | None = None) -> Source:
    """Read the headers of a volume's images, and see that they are what the volume was read from.

    Args:
        volume: the volume.
        edition: results of another edition have other UIDs, and are the same otherwise. An object that a rejection note
            took back has to come back under another UID.
        deidentifier: with one, the source is nobody's: as it would be read from what
            :func:`medkit.dicom.deidentification.deidentify` writes of it, where that takes it.

    Raises:
        CaseError: ``source-resampled`` where the volume has no images of its own; ``source-changed`` where a file is
            not what it was when the volume was read; ``source-mixed`` where patient, study (its dates and numbers too),
            series or frame of reference differ; ``source-incomplete`` where an image lacks the UIDs of series, study or
            frame of reference; with a deidentifier, what :func:`medkit.dicom.deidentification.clean_elements` refuses.
    """
    if not volume.frames:
        raise CaseError(
            "source-resampled",
            f"{volume.called}: expected a volume whose slices are images of the "
            f"series, got {volume.name}, which a repair resampled; bring the result back onto the volume as it was read",
        )
    source = Source(volume, tuple(_headers(volume)), edition)
    _check_common(source)
    edge = float(np.linalg.norm(volume.affine[:3, :3], axis=0).min())
    for number in range(len(source.headers)):
        _check_place(source, number, edge)
    return source if deidentifier is None else _deidentified(source, deidentifier)


def identifying(volume: SeriesVolume) -> Finding | None:
    """Why no results can be about a volume and about nobody, as far as its headers tell; ``None`` where they can.

    Raises:
        CaseError: ``source-changed``, see :func:`open_source`.
    """
    try:
        for header in {id(header): header for header in _headers(volume)}.values():
            check_deidentifiable(header, volume.called)
    except Refused as refused:
        return refused.finding
    return None


def _deidentified(source: Source, deidentifier: Deidentifier) -> Source:
    """The same of nobody; headers are changed in place."""
    volume = source.volume
    headers = {id(header): header for header in source.headers}.values()
    if len({deidentifier.pseudonym(header) for header in headers}) > 1:
        raise CaseError(
            "source-mixed",
            f"{volume.called}: expected one PatientID and IssuerOfPatientID in all its images, got several; take the "
            "images apart, or have their records corrected",
        )
    try:
        for header in headers:
            clean_elements(header, volume.called, deidentifier)
    except Refused as refused:
        raise CaseError(refused.finding.code, refused.finding.message) from None
    nobodys = replace(
        volume,
        frames=tuple(
            replace(frame, sop_instance_uid=deidentifier.uid(frame.sop_instance_uid))
            for frame in volume.frames
        ),
        series_instance_uid=deidentifier.uid(volume.series_instance_uid),
        study_instance_uid=deidentifier.uid(volume.study_instance_uid),
    )
    return replace(source, volume=nobodys)


def _headers(volume: SeriesVolume) -> Iterator[Dataset]:
    known: dict[tuple[Path, str | None], Dataset] = {}
    for frame in volume.frames:
        key = (frame.path, frame.member)
        if key not in known:
            known[key] = _header(*key)
        header = known[key]
        if header.get("SOPInstanceUID") != frame.sop_instance_uid:
            raise _changed(*key, f"instance {frame.sop_instance_uid}", str(header.get("SOPInstanceUID")))
        yield header


def _header(path: Path, member: str | None) -> Dataset:
    try:
        with ExitStack() as stack, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's remarks on what the reader has judged
            if member is None:
                file: IO[bytes] = stack.enter_context(path.open("rb"))
            else:
                file = stack.enter_context(stack.enter_context(zipfile.ZipFile(path)).open(member))
            if file.read(len(_MARK)) == _MARK:  # some files lack the preamble alone
                file = io.BytesIO(bytes(128) + _MARK + file.read())
            file.seek(0)
            header = pydicom.dcmread(file, stop_before_pixels=True, force=True)
    except Exception as error:  # whatever a disk, a zip or pydicom meets in a file that is another by now
        raise _changed(path, member, "the image that was read before", str(error)) from error
    if not header.get("SOPInstanceUID"):
        header.SOPInstanceUID = header.file_meta.get("MediaStorageSOPInstanceUID", "")
    return header


def _changed(path: Path, member: str | None, expected: str, got: str) -> CaseError:
    place = str(path) if member is None else f"{path}: {member}"
    return CaseError("source-changed", f"{place}: expected {expected}, got {got}; read the series again")


def _check_common(source: Source) -> None:
    first = source.header
    stored = _as_stored(first)  # before it is read, and its bytes are gone
    for header in {id(header): header for header in source.headers}.values():
        if header is not first and _as_stored(header) == stored:
            continue
        if lacking := [name for name in _IN_EACH if not header.get(name)]:
            raise CaseError(
                "source-incomplete",
                f"{source.volume.called}: expected images that results can "
                "refer to, got one "
                f"without {', '.join(lacking)} (instance {header.SOPInstanceUID}); export them from the archive again",
            )
        for name in _SAME_IN_ALL:
            if (header.get(name) or None) != (first.get(name) or None):  # empty says no more than absent
                raise CaseError(
                    "source-mixed",
                    f"{source.volume.called}: expected one {name} in all its images, got another in "
                    f"instance {header.SOPInstanceUID}; take the images apart, or have their records corrected",
                )


def _as_stored(header: Dataset) -> list[tuple[str | None, object] | None]:
    """What has to be the same in all images, as the file has it: where the bytes are the same, the values are."""
    elements = [header.get_item(tag) for tag in _COMMON]
    return [None if element is None else (element.VR, element.value) for element in elements]


def _check_place(source: Source, number: int, edge: float) -> None:
    """A slice whose image lies elsewhere belongs to another voxel: the frames would be in a wrong order."""
    header, frame, volume = source.headers[number], source.volume.frames[number], source.volume
    cosines = _stated(header, frame.frame, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    if cosines is not None and not _same_directions(cosines, np.array(source.cosines)):
        raise CaseError(
            "source-mixed",
            f"{volume.called}: expected images that lie as their volume does, got slice "
            f"{number + 1} of {volume.name} turned or mirrored in instance {header.SOPInstanceUID}; take them apart",
        )
    position = _stated(header, frame.frame, "PlanePositionSequence", "ImagePositionPatient", 3)
    if position is None or "GridFrameOffsetVector" in header:  # one position for all frames of a dose
        return
    apart = np.linalg.norm(source.corners[number] - position)
    if not apart <= SAME_PLACE_VOXELS * edge:
        raise _changed(
            frame.path,
            frame.member,
            f"slice {number + 1} of volume {volume.name}",
            f"an image {apart:.3g} mm away from it",
        )


def _same_directions(stated: NDArray[np.float64], cosines: NDArray[np.float64]) -> bool:
    axes = stated.reshape(2, 3)
    unit = axes / np.maximum(
        np.linalg.norm(axes, axis=1, keepdims=True), 1e-6
    )  # some scanners write other lengths
    return bool(np.abs(unit.ravel() - cosines).max() <= _SAME_COSINES)


def _stated(header: Dataset, frame: int, group: str, name: str, count: int) -> NDArray[np.float64] | None:
    """What a header says of a frame's place; ``None`` where that is nothing or no numbers."""
    for place in (*_groups(header, frame, group), header):
        try:
            numbers = np.array(place.get(name), dtype=np.float64)
        except (TypeError, ValueError):  # a decimal comma
            continue
        if numbers.shape == (count,):
            return numbers
    return None


def _groups(header: Dataset, frame: int, name: str) -> Iterator[Dataset]:
    """Items of a functional group for a frame, its own before the shared ones."""
    own = header.get("PerFrameFunctionalGroupsSequence") or ()
    for groups in (*own[frame - 1 : frame], *(header.get("SharedFunctionalGroupsSequence") or ())):
        yield from groups.get(name) or ()


def _slice_uid(number: int) -> str:
    return f"2.25.{number}"


def _slice_number(uid: str) -> int:
    return int(uid.rpartition(".")[2])
