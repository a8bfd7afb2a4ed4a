"""Series with one file a slice, as pydicom datasets that a kind may spoil before they are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
)
from pydicom.valuerep import format_number_as_ds

from tests.dicom_series.grids import Grid, Vector, field, grid
from tests.dicom_series.truth import TrueVolume, Truth, Values

CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage, "PT": PositronEmissionTomographyImageStorage}
# Of a value in float32, and of a place that was written with sixteen characters.
ROUNDING = 0.03


def uid(rng: Generator) -> str:
    """A UID of the kind that needs no registered root (PS3.5 B.2)."""
    high, low = (int(number) for number in rng.integers(1, 2**62, 2))
    return f"2.25.{(high << 62) | low}"


def numbers(values: Sequence[float] | Vector) -> list[str]:
    """Decimal strings of at most sixteen characters."""
    return [format_number_as_ds(float(value)) for value in values]


@dataclass(frozen=True)
class Identity:
    """Whose series it is."""

    patient: str
    study: str
    series: str
    frame_of_reference: str
    number: int = 3

    @staticmethod
    def new(rng: Generator) -> Identity:
        return Identity(f"P{rng.integers(10**6):06}", uid(rng), uid(rng), uid(rng))

    def another_series(self, rng: Generator) -> Identity:
        """Another series of the study, in the same frame of reference."""
        return replace(self, series=uid(rng), number=self.number + 1)


@dataclass(frozen=True)
class Coding:
    """How values become stored numbers (PS3.3 C.7.6.3 and C.11.1)."""

    slope: float = 1.0
    intercept: float = -1024.0
    bits_allocated: int = 16
    bits_stored: int = 12
    signed: bool = False
    rescaled: bool = True

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return np.dtype(f"<{'i' if self.signed else 'u'}{self.bits_allocated // 8}")

    def stored(self, values: NDArray[np.float64]) -> NDArray[np.generic]:
        """Refuses values that would not fit: a kind must not overflow unseen."""
        whole = np.rint((values - self.intercept) / self.slope) if self.rescaled else np.rint(values)
        low = -(2 ** (self.bits_stored - 1)) if self.signed else 0
        if whole.min() < low or whole.max() >= low + 2**self.bits_stored:
            raise ValueError(f"{whole.min():.0f} to {whole.max():.0f} do not fit {self}")
        return whole.astype(self.dtype)

    @property
    def tolerance(self) -> float:
        return (abs(self.slope) if self.rescaled else 1.0) * (0.5 + ROUNDING)


CODINGS = {
    "CT": Coding(),
    "MR": Coding(intercept=0, rescaled=False),
    "PT": Coding(slope=0.5, intercept=0, bits_stored=16),
}
OFFSETS = {"CT": -100.0, "MR": 700.0, "PT": 700.0}


class Stack:
    """Slices of one volume: ``datasets`` in the order of ``positions``.

    Args:
        rng: of all numbers.
        place: the grid; slices need not lie on it.
        positions: of the first pixel of each slice, LPS; the grid's own unless given.
        modality: CT, MR or PT.
        offset: added to all values, so that mixing shows.
        coding: how values are stored; the modality's usual way unless given.
        codings: one for each slice.
        identity: whose series it is.
        first: InstanceNumber of the first slice.
        scale: of all values, for few bits.
    """

    def __init__(
        self,
        rng: Generator,
        place: Grid | None = None,
        *,
        positions: Sequence[Vector] | None = None,
        modality: str = "CT",
        offset: float = 0.0,
        coding: Coding | None = None,
        codings: Sequence[Coding] | None = None,
        identity: Identity | None = None,
        first: int = 1,
        scale: float = 1.0,
        values: Values | None = None,
    ) -> None:
        self.rng = rng
        self.grid = place or grid(rng)
        self.positions = list(positions) if positions is not None else self.grid.positions
        self.modality = modality
        coding = coding or CODINGS[modality]
        self.codings = list(codings) if codings is not None else [coding] * len(self.positions)
        self.identity = identity or Identity.new(rng)
        base = OFFSETS[modality] + offset
        self.values = values or field(self.grid, rng, scale=scale, offset=base)
        self.datasets = [self._slice(number, first + number) for number in range(len(self.positions))]

    def _slice(self, number: int, instance: int) -> Dataset:
        coding = self.codings[number]
        stored = coding.stored(self.values(self.grid.points(self.positions[number])))
        dataset = header(self.rng, self.identity, self.modality)
        dataset.InstanceNumber = instance
        dataset.AcquisitionNumber = 1
        if self.modality == "PT":
            dataset.ImageIndex = number + 1
        place(dataset, self.grid, self.positions[number])
        describe(dataset, coding, stored)
        return dataset

    def volume(self, first: int = 0, count: int | None = None, **options: object) -> TrueVolume:
        """The truth about a run of slices that lie on the grid."""
        count = len(self.positions) - first if count is None else count
        part = self.grid.part(first, count)
        tolerance = max(coding.tolerance for coding in self.codings)
        return replace(TrueVolume(part.affine, part.shape, self.values, tolerance), **options)

    def regridded(self, slices: int | None = None) -> TrueVolume:
        """The truth about the region of the grid, of so many slices, after a repair that interpolates."""
        part = self.grid.part(0, slices or self.grid.shape[2])
        tolerance = max(coding.tolerance for coding in self.codings) + 1.0
        return TrueVolume(part.affine, part.shape, self.values, tolerance, place=0.05, regridded=True)

    def write(self, folder: Path) -> None:
        write(folder, self.datasets, self.rng)

    def truth(self) -> Truth:
        return Truth((self.volume(),))


def header(rng: Generator, identity: Identity, modality: str) -> Dataset:
    """Patient, study, series and equipment, with what the modality must say."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CLASSES.get(modality, "")
    dataset.SOPInstanceUID = uid(rng)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = (
        ["ORIGINAL", "PRIMARY", "AXIAL"] if modality == "CT" else ["ORIGINAL", "PRIMARY", "M", "ND"]
    )
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20200102"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "101112"
    dataset.AccessionNumber = ""
    dataset.Modality = modality
    dataset.Manufacturer = "Generated"
    dataset.ManufacturerModelName = "Field"
    dataset.ReferringPhysicianName = ""
    dataset.SeriesDescription = f"generated {modality}"
    dataset.PatientName = f"Generated^{identity.patient}"
    dataset.PatientID = identity.patient
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "O"
    dataset.PatientPosition = "HFS"
    dataset.StudyInstanceUID = identity.study
    dataset.SeriesInstanceUID = identity.series
    dataset.StudyID = "1"
    dataset.SeriesNumber = identity.number
    dataset.FrameOfReferenceUID = identity.frame_of_reference
    dataset.PositionReferenceIndicator = dataset.Laterality = ""
    if modality == "CT":
        dataset.KVP = "120"
    if modality == "MR":
        dataset.ScanningSequence, dataset.SequenceVariant = "SE", "NONE"
        dataset.ScanOptions, dataset.MRAcquisitionType = "", "2D"
        dataset.EchoTime, dataset.RepetitionTime, dataset.EchoTrainLength = "11", "500", 1
    if modality == "PT":
        dataset.Units, dataset.CountsSource = "BQML", "EMISSION"
        dataset.SeriesType = ["WHOLE BODY", "IMAGE"]
        dataset.DecayCorrection, dataset.DecayFactor = "START", "1"
        dataset.NumberOfSlices, dataset.FrameReferenceTime, dataset.ActualFrameDuration = 9, "0", "60000"
        dataset.CorrectedImage, dataset.CollimatorType = ["DECY", "ATTN"], "NONE"
    return dataset


def place(dataset: Dataset, grid: Grid, position: Vector) -> None:
    """The image plane module (PS3.3 C.7.6.2)."""
    dataset.PixelSpacing = numbers(grid.spacing)
    dataset.ImageOrientationPatient = numbers([*grid.row, *grid.column])
    dataset.ImagePositionPatient = numbers(position)
    dataset.SliceThickness = numbers([grid.thickness])[0]
    dataset.SliceLocation = numbers([grid.normal @ position])[0]


def describe(dataset: Dataset, coding: Coding, stored: NDArray[np.generic]) -> None:
    """The image pixel module and the rescaling; ``stored`` is (rows, columns) or (frames, rows, columns)."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.BitsAllocated, dataset.BitsStored = coding.bits_allocated, coding.bits_stored
    dataset.HighBit = coding.bits_stored - 1
    dataset.PixelRepresentation = int(coding.signed)
    if coding.rescaled:
        dataset.RescaleIntercept, dataset.RescaleSlope = numbers([coding.intercept, coding.slope])
        if dataset.get("Modality") == "CT":
            dataset.RescaleType = "HU"
    set_pixels(dataset, stored)


def set_pixels(dataset: Dataset, stored: NDArray[np.generic]) -> None:
    data = stored.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if stored.dtype.itemsize == 1 else "OW"


def pixels(dataset: Dataset) -> NDArray[np.generic]:
    """The stored numbers of a slice that is not compressed; a copy."""
    dtype = f"<{'i' if dataset.PixelRepresentation else 'u'}{dataset.BitsAllocated // 8}"
    count = dataset.Rows * dataset.Columns
    return np.frombuffer(dataset.PixelData, dtype, count).reshape(dataset.Rows, dataset.Columns).copy()


def write(folder: Path, datasets: Sequence[Dataset], rng: Generator) -> list[Path]:
    """One file a dataset, named in an order that says nothing; the paths in the order of the datasets."""
    folder.mkdir(parents=True, exist_ok=True)
    before = len(list(folder.iterdir()))
    paths = [folder / f"IM{before + number:04}.dcm" for number in rng.permutation(len(datasets))]
    for path, dataset in zip(paths, datasets, strict=True):
        save(path, dataset)
    return paths


def save(path: Path, dataset: Dataset) -> None:
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
