"""What lies beside a stack: other planes, series, studies and patients, and pictures that are no slices."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.random import Generator
from pydicom.uid import SecondaryCaptureImageStorage

from tests.dicom_series.grids import grid
from tests.dicom_series.kinds import add, kind
from tests.dicom_series.mixtures import STEP
from tests.dicom_series.stacks import Coding, Identity, Stack, header, numbers, set_pixels, uid, write
from tests.dicom_series.truth import Truth


def localizer(folder: Path, rng: Generator, *, count: int = 1, size: tuple[int, int] = (14, 12)) -> Truth:
    stack = Stack(rng)
    place = grid(rng, "coronal", shape=(*size, count))
    scout = Stack(rng, place, identity=stack.identity, offset=300.0, first=10)
    for dataset in scout.datasets:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    write(folder, stack.datasets + scout.datasets, rng)
    return Truth((stack.volume(), replace(scout.volume(), required=False)))


_DROP = ("drop-localizer",)
add("localizer", "a localizer in another plane", localizer, _DROP)
add("localizer-other-size", "a localizer of another size", partial(localizer, size=(21, 17)), _DROP)
add("localizers-two", "two parallel localizer slices", partial(localizer, count=2), _DROP)


def three_planes(folder: Path, rng: Generator, *, count: int) -> Truth:
    identity = Identity.new(rng)
    stacks = [
        Stack(
            rng,
            grid(rng, plane, shape=(14, 12, count)),
            modality="MR",
            identity=identity,
            offset=STEP * number,
            first=count * number + 1,
        )
        for number, plane in enumerate(("axial", "coronal", "sagittal"))
    ]
    write(folder, [dataset for stack in stacks for dataset in stack.datasets], rng)
    return Truth(tuple(stack.volume() for stack in stacks))


add(
    "three-planes", "three planes with three slices each, as a scout has them", partial(three_planes, count=3)
)
add("three-planes-one-slice", "one slice in each of three planes", partial(three_planes, count=1))


def two_stacks(
    folder: Path, rng: Generator, *, same_series: bool, same_size: bool, angles: tuple[float, float, float]
) -> Truth:
    one = Stack(rng, modality="MR")
    shape = (14, 12, 9) if same_size else (11, 16, 9)
    identity = one.identity if same_series else one.identity.another_series(rng)
    other = Stack(
        rng,
        grid(rng, angles=angles, shape=shape),
        modality="MR",
        identity=identity,
        offset=STEP,
        first=10 if same_series else 1,
    )
    write(folder, one.datasets + other.datasets, rng)
    return Truth((one.volume(), other.volume()))


_PLAIN = (0.0, 0.0, 0.0)
add(
    "two-matrices",
    "two matrix sizes with their own geometry in one series",
    partial(two_stacks, same_series=True, same_size=False, angles=_PLAIN),
)
add(
    "two-angles",
    "two blocks of slices with other angles in one series, as for lumbar discs",
    partial(two_stacks, same_series=True, same_size=True, angles=(0.4, 0, 0)),
)
add(
    "two-series",
    "two series in one folder",
    partial(two_stacks, same_series=False, same_size=True, angles=_PLAIN),
)
add(
    "two-series-other-matrix",
    "two series of other sizes and angles in one folder",
    partial(two_stacks, same_series=False, same_size=False, angles=(0.3, -0.2, 0.1)),
)


@kind("two series that differ by a digit at the end of the UID")
def two_series_alike(folder: Path, rng: Generator) -> Truth:
    one = Stack(rng)
    uid_of_one = one.identity.series[:-1]
    other_identity = replace(one.identity, series=uid_of_one + "42")
    for dataset in one.datasets:
        dataset.SeriesInstanceUID = uid_of_one + "4"
    other = Stack(rng, one.grid, identity=other_identity, offset=STEP)
    write(folder, one.datasets + other.datasets, rng)
    return Truth((one.volume(), other.volume()))


@kind("two series at the same place with the same SeriesNumber and description")
def two_series_same_number(folder: Path, rng: Generator) -> Truth:
    one = Stack(rng)
    other = Stack(rng, one.grid, identity=replace(one.identity, series=uid(rng)), offset=STEP)
    write(folder, one.datasets + other.datasets, rng)
    return Truth((one.volume(), other.volume()))


@kind("two studies of one patient in one folder")
def two_studies(folder: Path, rng: Generator) -> Truth:
    one = Stack(rng)
    identity = replace(Identity.new(rng), patient=one.identity.patient)
    other = Stack(rng, identity=identity, offset=STEP)
    write(folder, one.datasets + other.datasets, rng)
    return Truth((one.volume(), other.volume()))


def one_slice_of(folder: Path, rng: Generator, *, name: str, value: str | None) -> Truth:
    """A slice in the middle that says another patient, study or frame of reference."""
    stack = Stack(rng)
    setattr(stack.datasets[4], name, uid(rng) if value is None else value)
    stack.write(folder)
    return Truth((), others=((stack.volume(0, 4), stack.volume(4, 1), stack.volume(5)),))


add("patient-mixed", "a slice of another patient", partial(one_slice_of, name="PatientID", value="OTHER"))
add("study-mixed", "a slice of another study", partial(one_slice_of, name="StudyInstanceUID", value=None))
add(
    "frame-of-reference-mixed",
    "a slice in another frame of reference",
    partial(one_slice_of, name="FrameOfReferenceUID", value=None),
)


@kind("two halves in two frames of reference, side by side as one stack")
def frame_of_reference_halves(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    other = uid(rng)
    for dataset in stack.datasets[5:]:
        dataset.FrameOfReferenceUID = other
    stack.write(folder)
    return Truth((), others=((stack.volume(0, 5), stack.volume(5)),))


@kind("no FrameOfReferenceUID in any slice")
def frame_of_reference_absent(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for dataset in stack.datasets:
        del dataset.FrameOfReferenceUID
    stack.write(folder)
    return stack.truth()


@kind("a colour picture of the dose report in the series")
def dose_report(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    page = header(rng, stack.identity, "CT")
    page.SOPClassUID = SecondaryCaptureImageStorage
    page.ConversionType, page.InstanceNumber = "WSD", 99
    page.ImageType = ["DERIVED", "SECONDARY", "SCREEN SAVE"]
    page.SamplesPerPixel, page.PhotometricInterpretation, page.PlanarConfiguration = 3, "RGB", 0
    page.Rows, page.Columns = 12, 14
    page.BitsAllocated = page.BitsStored = 8
    page.HighBit, page.PixelRepresentation = 7, 0
    set_pixels(page, rng.integers(0, 255, (12, 14, 3)).astype(np.uint8))
    write(folder, [*stack.datasets, page], rng)
    return stack.truth()


@kind("a grey secondary capture without geometry in the series")
def secondary_capture(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    page = Stack(rng, stack.grid.part(0, 1), identity=stack.identity, first=99, offset=300.0).datasets[0]
    page.SOPClassUID = SecondaryCaptureImageStorage
    page.ConversionType = "WSD"
    page.ImageType = ["DERIVED", "SECONDARY"]
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceLocation"):
        delattr(page, name)
    write(folder, [*stack.datasets, page], rng)
    return stack.truth()


@kind("a projection over all slices, MIP, in the series and in their plane")
def projection_in_series(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    middle = stack.grid.part(4, 1)
    page = Stack(rng, middle, identity=stack.identity, first=10, offset=300.0)
    page.datasets[0].ImageType = ["DERIVED", "SECONDARY", "PROJECTION IMAGE"]
    page.datasets[0].SliceThickness = numbers([9 * stack.grid.thickness])[0]
    write(folder, stack.datasets + page.datasets, rng)
    alone = replace(page.volume(), required=False)
    return Truth((stack.volume(), alone))


@kind("CT and PET in one folder")
def ct_and_pet(folder: Path, rng: Generator) -> Truth:
    ct = Stack(rng)
    pet = Stack(
        rng,
        grid(rng, shape=(9, 8, 9)),
        modality="PT",
        identity=ct.identity.another_series(rng),
        coding=Coding(slope=0.25, intercept=0, bits_stored=16),
    )
    write(folder, ct.datasets + pet.datasets, rng)
    return Truth((ct.volume(), pet.volume()))
