"""Other objects with many frames: dose, nuclear medicine, parametric maps, and pictures without a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    NuclearMedicineImageStorage,
    ParametricMapStorage,
    RTDoseStorage,
    SegmentationStorage,
    UltrasoundMultiFrameImageStorage,
    XRayAngiographicImageStorage,
)

from tests.dicom_series.grids import grid
from tests.dicom_series.kinds import add, kind
from tests.dicom_series.multiframe import coding_of, enhanced, frames_of, item
from tests.dicom_series.stacks import ROUNDING, Coding, Stack, describe, header, numbers, place, write
from tests.dicom_series.truth import REFUSAL, Truth


def frames_object(rng: Generator, stack: Stack, modality: str, storage: str) -> Dataset:
    """All slices of a stack in one object, with the place of the first."""
    dataset = header(rng, stack.identity, modality)
    dataset.SOPClassUID = storage
    dataset.InstanceNumber = 1
    coding = stack.codings[0]
    stored = [coding.stored(stack.values(stack.grid.points(position))) for position in stack.positions]
    place(dataset, stack.grid, stack.positions[0])
    describe(dataset, replace(coding, rescaled=False), np.stack(stored))
    dataset.NumberOfFrames = len(stored)
    return dataset


def dose(
    folder: Path,
    rng: Generator,
    *,
    scaling: float = 0.002,
    absolute: bool = False,
    bits: int = 32,
    steps: Sequence[float] = (),
    down: bool = False,
    spoil: str = "",
    **options: Any,
) -> Truth:
    """RT dose (PS3.3 C.8.8.3): values are stored numbers times DoseGridScaling, places come from the offsets."""
    where = grid(rng, down=down, **options)
    steps = steps or range(where.shape[2])
    positions = [where.origin + step * where.step for step in steps]
    coding = Coding(scaling, 0, bits, bits)
    stack = Stack(rng, where, positions=positions, coding=coding, scale=0.05, offset=130.0)
    dataset = frames_object(rng, stack, "RTDOSE", RTDoseStorage)
    del dataset.SliceLocation
    dataset.DoseUnits, dataset.DoseType, dataset.DoseSummationType = "GY", "PHYSICAL", "PLAN"
    dataset.DoseGridScaling = numbers([scaling])[0]
    dataset.FrameIncrementPointer = 0x3004000C
    along = np.array([step * float(where.normal @ where.step) for step in steps])
    dataset.GridFrameOffsetVector = numbers(along + (stack.positions[0][2] if absolute else 0))
    if spoil:
        delattr(dataset, spoil)
    write(folder, [dataset], rng)
    if spoil:
        return REFUSAL
    if list(steps) != list(range(where.shape[2])):
        whole = replace(stack.regridded(round(steps[-1]) + 1), tolerance=0.2)
        return Truth((), repaired=((whole,),))
    return stack.truth()


add("dose", "RT dose, 32 bits", partial(dose))
add("dose-16", "RT dose, 16 bits", partial(dose, bits=16, scaling=0.004))
add("dose-absolute", "RT dose with the offsets as z of the patient", partial(dose, absolute=True))
add("dose-down", "RT dose with falling offsets", partial(dose, down=True))
add(
    "dose-turned",
    "RT dose, feet first: the normal is the same, rows and columns are not",
    partial(dose, angles=(0, 0, np.pi)),
)
add(
    "dose-nonuniform",
    "RT dose with growing offsets",
    partial(dose, steps=(0, 1, 2.1, 3.3, 4.6, 6, 7.5, 9)),
    ("resample",),
)
add("dose-scaling-absent", "RT dose without DoseGridScaling", partial(dose, spoil="DoseGridScaling"))
add(
    "dose-offsets-absent",
    "RT dose without GridFrameOffsetVector",
    partial(dose, spoil="GridFrameOffsetVector"),
)


@kind("RT dose in a folder with its CT")
def dose_and_ct(folder: Path, rng: Generator) -> Truth:
    truth = dose(folder, rng)
    ct = Stack(rng)
    ct.write(folder)
    return Truth((*truth.volumes, ct.volume()))


@kind("nuclear medicine, reconstructed: the place of the first slice and the distance of the rest")
def nuclear(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng, grid(rng), modality="PT", coding=Coding(1, 0, bits_stored=16, rescaled=False))
    dataset = frames_object(rng, stack, "NM", NuclearMedicineImageStorage)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    dataset.FrameIncrementPointer = 0x00540080
    dataset.SliceVector, dataset.NumberOfSlices = list(range(1, 10)), 9
    dataset.SpacingBetweenSlices = dataset.SliceThickness
    detector = Dataset()
    detector.ImagePositionPatient = dataset.ImagePositionPatient
    detector.ImageOrientationPatient = dataset.ImageOrientationPatient
    dataset.DetectorInformationSequence = Items([detector])
    del dataset.ImagePositionPatient, dataset.ImageOrientationPatient, dataset.SliceLocation
    write(folder, [dataset], rng)
    # To which side the slices go is said by no attribute that all scanners write alike.
    return Truth((), others=((stack.volume(),),))


def unplaced(folder: Path, rng: Generator, *, storage: str, modality: str) -> Truth:
    """Frames in time or of a page, in no place: no volume is in them."""
    stack = Stack(rng, modality="PT", coding=Coding(1, 0, bits_stored=12, rescaled=False))
    dataset = frames_object(rng, stack, modality, storage)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "SliceLocation", "SliceThickness"):
        delattr(dataset, name)
    if modality in ("US", "XA"):
        dataset.FrameIncrementPointer, dataset.FrameTime = 0x00181063, "33.3"
        del dataset.PixelSpacing
    write(folder, [dataset], rng)
    return REFUSAL


for _name, _about, _storage, _modality in (
    ("ultrasound-cine", "an ultrasound film", UltrasoundMultiFrameImageStorage, "US"),
    ("angiography-cine", "an angiographic film", XRayAngiographicImageStorage, "XA"),
    (
        "secondary-capture-frames",
        "a secondary capture of many frames",
        MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        "OT",
    ),
):
    add(_name, _about, partial(unplaced, storage=_storage, modality=_modality))


def real_map(
    folder: Path,
    rng: Generator,
    *,
    double: bool = False,
    pad: float | None = None,
    limit: float | None = None,
) -> Truth:
    """A parametric map in floating point; ``pad`` stands in the corners of each frame, up to ``limit``."""
    stack = Stack(rng, modality="MR", coding=coding_of("MR"))
    dataset = enhanced(rng, stack.identity, frames_of(stack))
    dataset.SOPClassUID = ParametricMapStorage
    exact = [stack.values(stack.grid.points(position)) for position in stack.positions]
    del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
    dataset.BitsAllocated = 64 if double else 32
    stored = np.stack(exact).astype("<f8" if double else "<f4")
    hidden = np.zeros(stored.shape, bool)
    prefix = "Double" if double else ""
    if pad is not None:
        hidden[:, :3, :4] = hidden[:, -2:, -3:] = True
        stored[hidden] = pad
        setattr(dataset, f"{prefix}FloatPixelPaddingValue", pad)
        if limit is not None:
            stored[:, 0, 0] = limit
            stored[:, 0, 1] = (pad + limit) / 2
            setattr(dataset, f"{prefix}FloatPixelPaddingRangeLimit", limit)
    setattr(dataset, f"{prefix}FloatPixelData", stored.tobytes())
    mapping = item(
        RealWorldValueIntercept=0.0, RealWorldValueSlope=1.0, LUTLabel="made", LUTExplanation="made"
    )
    mapping.DoubleFloatRealWorldValueFirstValueMapped = 0.0
    mapping.DoubleFloatRealWorldValueLastValueMapped = 4000.0
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.RealWorldValueMappingSequence = Items([mapping])
    write(folder, [dataset], rng)
    return Truth((replace(stack.volume(), tolerance=ROUNDING, hidden=hidden.T),))


for _name, _about, _options in (
    ("", "", {}),
    ("-double", " of 64 bits", {"double": True}),
    ("-padding", ", padded with -9999", {"pad": -9999.0}),
    ("-padding-range", ", padded with -9999 to -9000", {"pad": -9000.0, "limit": -9999.0}),
    ("-padding-nan", ", padded with NaN", {"pad": np.nan}),
    ("-padding-infinite", ", padded with minus infinity", {"pad": -np.inf}),
    (
        "-padding-double",
        " of 64 bits, padded with the lowest of their numbers",
        {"double": True, "pad": float(np.finfo(np.float64).min)},
    ),
):
    add(
        f"parametric-map{_name}", f"a parametric map in floating point{_about}", partial(real_map, **_options)
    )


def whole_map(folder: Path, rng: Generator, *, mappings: int = 1, last: int = 65535) -> Truth:
    """Values are what the real-world value mapping makes of the stored numbers; there is no rescaling."""
    coding = Coding(0.001, -1, bits_stored=16)
    stack = Stack(rng, modality="MR", coding=coding, scale=0.02, offset=-690.0)
    dataset = enhanced(rng, stack.identity, frames_of(stack, without=("PixelValueTransformationSequence",)))
    dataset.SOPClassUID = ParametricMapStorage
    mapping = item(RealWorldValueIntercept=-1.0, RealWorldValueSlope=0.001, LUTLabel="made")
    mapping.add_new("RealWorldValueFirstValueMapped", "US", 0)
    mapping.add_new("RealWorldValueLastValueMapped", "US", last)
    unit = item(CodeValue="um2/ms", CodingSchemeDesignator="UCUM", CodeMeaning="um2/ms")
    mapping.MeasurementUnitsCodeSequence = Items([unit])
    if mappings:
        shared = dataset.SharedFunctionalGroupsSequence[0]
        shared.RealWorldValueMappingSequence = Items([mapping] * mappings)
    write(folder, [dataset], rng)
    return stack.truth() if mappings == 1 and last == 65535 else Truth((), others=((stack.volume(),),))


for _name, _about, _options in (
    ("parametric-map-whole", "a parametric map in whole numbers with a slope and an intercept", {}),
    ("parametric-map-unmapped", "a parametric map in whole numbers without their meaning", {"mappings": 0}),
    ("parametric-map-two-ways", "a parametric map with two real-world values of a number", {"mappings": 2}),
    ("parametric-map-part", "a parametric map with a mapping for some of its numbers", {"last": 10_000}),
):
    add(_name, _about, partial(whole_map, **_options))


@kind("a segmentation beside its source slices: labels are no image")
def segmentation_beside(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    other = Stack(
        rng,
        stack.grid,
        modality="MR",
        identity=stack.identity.another_series(rng),
        coding=Coding(1, 0, 8, 8),
        scale=0.1,
        offset=-620.0,
    )
    dataset = enhanced(rng, other.identity, frames_of(other))
    dataset.SOPClassUID, dataset.Modality = SegmentationStorage, "SEG"
    dataset.SegmentationType = "FRACTIONAL"
    dataset.MaximumFractionalValue, dataset.SegmentationFractionalType = 255, "OCCUPANCY"
    dataset.SegmentSequence = Items([item(SegmentNumber=1, SegmentLabel="made")])
    write(folder, [*stack.datasets, dataset], rng)
    # As numbers its voxels may be given as well, scaled to one or as stored; what is asked for is the image.
    raw = replace(other.volume(), required=False)
    return Truth((stack.volume(), raw))


@kind("two views of a chest: pixels without a place")
def radiographs(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng, grid(rng, shape=(14, 12, 2)))
    for dataset in stack.datasets:
        dataset.Modality = "DX"
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
        dataset.ImagerPixelSpacing = dataset.PixelSpacing
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "SliceLocation", "SliceThickness"):
            delattr(dataset, name)
    stack.write(folder)
    return REFUSAL
