"""More than one volume in a series, or more than one series in a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.random import Generator
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from tests.dicom_series.grids import grid
from tests.dicom_series.kinds import add, kind
from tests.dicom_series.stacks import Coding, Identity, Stack, header, numbers, set_pixels, uid, write
from tests.dicom_series.truth import Truth

# Marks the slices of one of the volumes: which volume, which slice.
Mark = Callable[[Dataset, int, int], None]
STEP = 61.0


def volumes(
    folder: Path,
    rng: Generator,
    *,
    mark: Mark,
    count: int = 2,
    modality: str = "MR",
    interleaved: bool = False,
    counts: tuple[int, ...] = (),
) -> Truth:
    """Several volumes at one place in one series, told apart by what ``mark`` writes.

    Args:
        folder: of the files.
        rng: of all numbers.
        mark: what differs.
        count: how many volumes.
        modality: of the series.
        interleaved: InstanceNumbers go through the volumes at each place, not through the places of each volume.
        counts: slices of each volume, where they differ.
    """
    place = grid(rng, angles=(0.1, -0.07, 0.05))
    identity = Identity.new(rng)
    stacks = [
        Stack(rng, place, modality=modality, identity=identity, offset=STEP * number)
        for number in range(count)
    ]
    counts = counts or (9,) * count
    datasets = []
    for one, (stack, slices) in enumerate(zip(stacks, counts, strict=True)):
        for number, dataset in enumerate(stack.datasets[:slices]):
            dataset.InstanceNumber = 1 + (number * count + one if interleaved else one * 9 + number)
            mark(dataset, one, number)
            datasets.append(dataset)
    write(folder, datasets, rng)
    return Truth(tuple(stack.volume(0, slices) for stack, slices in zip(stacks, counts, strict=True)))


def setter(name: str, *values: object) -> Mark:
    """Marks a volume by the value of one attribute."""

    def mark(dataset: Dataset, one: int, number: int) -> None:
        setattr(dataset, name, values[one])

    return mark


def phases(dataset: Dataset, one: int, number: int) -> None:
    """Two passes of the table: other acquisition numbers and times."""
    dataset.AcquisitionNumber = one + 1
    dataset.AcquisitionTime = dataset.ContentTime = f"10{11 + one}{number:02}"


def times_only(dataset: Dataset, one: int, number: int) -> None:
    dataset.AcquisitionTime = dataset.ContentTime = f"10{11 + one}{number:02}"


def over_midnight(dataset: Dataset, one: int, number: int) -> None:
    """The first pass begins on the one day and ends on the next."""
    second = 86_390 + 2 * number + 60 * one
    dataset.AcquisitionDate = f"2020010{2 + second // 86_400}"
    second %= 86_400
    dataset.AcquisitionTime = f"{second // 3600:02}{second // 60 % 60:02}{second % 60:02}"
    dataset.ContentDate, dataset.ContentTime = dataset.AcquisitionDate, dataset.AcquisitionTime


def within_a_second(dataset: Dataset, one: int, number: int) -> None:
    dataset.AcquisitionTime = f"101112.{50_000 * (9 * one + number):06}"


def temporal(dataset: Dataset, one: int, number: int) -> None:
    dataset.TemporalPositionIdentifier, dataset.NumberOfTemporalPositions = one + 1, 3
    dataset.AcquisitionTime = f"1011{one:02}"


def triggers(dataset: Dataset, one: int, number: int) -> None:
    dataset.TriggerTime, dataset.NominalInterval, dataset.CardiacNumberOfImages = f"{83.5 * one}", 800, 3


def dixon(dataset: Dataset, one: int, number: int) -> None:
    dataset.ImageType = ["DERIVED", "PRIMARY", "DIXON", ("WATER", "FAT")[one]]


def complex_parts(dataset: Dataset, one: int, number: int) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ("M", "P")[one], "ND"]


def echoes(dataset: Dataset, one: int, number: int) -> None:
    dataset.EchoNumbers, dataset.EchoTime = one + 1, ("4.92", "7.38", "9.84")[one]


def kernels(dataset: Dataset, one: int, number: int) -> None:
    dataset.ConvolutionKernel = ("B30f", "B70f")[one]


def energies(dataset: Dataset, one: int, number: int) -> None:
    dataset.KVP = ("80", "140")[one]
    dataset.AcquisitionNumber = one + 1


def stacks_named(dataset: Dataset, one: int, number: int) -> None:
    dataset.StackID, dataset.InStackPositionNumber = str(one + 1), number + 1


for _name, _about, _mark, _modality, _count in (
    ("phases", "two passes by AcquisitionNumber and time", phases, "CT", 2),
    ("phases-by-time", "two passes by AcquisitionTime alone", times_only, "CT", 2),
    ("phases-over-midnight", "two passes, the first over midnight, by date and time", over_midnight, "CT", 2),
    ("phases-within-a-second", "two passes by fractions of AcquisitionTime", within_a_second, "CT", 2),
    ("temporal-positions", "three TemporalPositionIdentifiers", temporal, "MR", 3),
    ("trigger-times", "three cardiac phases by TriggerTime", triggers, "MR", 3),
    ("echoes", "three echoes by EchoNumbers and EchoTime", echoes, "MR", 3),
    ("echo-times", "two echoes by EchoTime alone", setter("EchoTime", "4.92", "7.38"), "MR", 2),
    ("inversion-times", "three InversionTimes", setter("InversionTime", "100", "400", "1600"), "MR", 3),
    ("flip-angles", "two FlipAngles", setter("FlipAngle", "5", "20"), "MR", 2),
    ("repetition-times", "two RepetitionTimes", setter("RepetitionTime", "500", "2500"), "MR", 2),
    ("dixon", "water and fat by ImageType", dixon, "MR", 2),
    ("magnitude-and-phase", "magnitude and phase by ImageType", complex_parts, "MR", 2),
    ("kernels", "two ConvolutionKernels", kernels, "CT", 2),
    ("energies", "two tube voltages", energies, "CT", 2),
):
    add(
        _name,
        f"{_about}, one after the other",
        partial(volumes, mark=_mark, modality=_modality, count=_count),
    )
    add(
        f"{_name}-interleaved",
        f"{_about}, in turn at every place",
        partial(volumes, mark=_mark, modality=_modality, count=_count, interleaved=True),
    )


@kind("two phases of unequal numbers of slices")
def phases_of_unequal_count(folder: Path, rng: Generator) -> Truth:
    return volumes(folder, rng, mark=phases, modality="CT", counts=(9, 6))


@kind("two volumes at one place with nothing that tells them apart but the InstanceNumber")
def nothing_tells_apart(folder: Path, rng: Generator) -> Truth:
    truth = volumes(folder, rng, mark=lambda dataset, one, number: None, modality="CT")
    return Truth((), others=(truth.volumes,))


@kind("the last slice alone has another echo time, and the contrast that goes with it")
def last_slice_other_echo(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng, modality="MR")
    late = Stack(rng, stack.grid.part(8, 1), modality="MR", identity=stack.identity, first=9, offset=STEP)
    late.datasets[0].EchoTime = "80"
    stack.datasets[8] = late.datasets[0]
    stack.write(folder)
    return Truth((), others=((stack.volume(0, 8), late.volume()),))


@kind("tube current, exposure and table height change from slice to slice, as they may")
def dose_modulation(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for number, dataset in enumerate(stack.datasets):
        dataset.XRayTubeCurrent, dataset.Exposure = 200 + 13 * number, 90 + number
        dataset.AcquisitionTime = dataset.ContentTime = f"1011{number:02}.25"
        dataset.WindowCenter, dataset.WindowWidth = 40 + number, 400
    stack.write(folder)
    return stack.truth()


@kind("AcquisitionNumber counts the slices: each place once, one volume")
def acquisition_number_counts(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for number, dataset in enumerate(stack.datasets):
        dataset.AcquisitionNumber = number + 1
    stack.write(folder)
    return stack.truth()


@kind("TriggerTime differs in every slice of one volume, as in gated scans")
def trigger_time_counts(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng, modality="MR")
    for number, dataset in enumerate(stack.datasets):
        dataset.TriggerTime = f"{31.5 * number}"
    stack.write(folder)
    return stack.truth()


@kind("EchoTime differs in the third digit from slice to slice of one volume")
def echo_time_jitters(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng, modality="MR")
    for number, dataset in enumerate(stack.datasets):
        dataset.EchoTime = f"{4.92 + 0.001 * (number % 2):.3f}"
    stack.write(folder)
    return stack.truth()


def alternating(folder: Path, rng: Generator, *, spoil: Callable[[Dataset], None], modality: str) -> Truth:
    """Every second slice of one volume says something else."""
    stack = Stack(rng, modality=modality)
    for dataset in stack.datasets[1::2]:
        spoil(dataset)
    stack.write(folder)
    return Truth((), others=((stack.volume(),),))


def turned_a_little(dataset: Dataset) -> None:
    """By less than a hundredth of a pixel at the edge."""
    axes = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
    turn = np.array([[np.cos(3e-4), np.sin(3e-4)], [-np.sin(3e-4), np.cos(3e-4)]])
    dataset.ImageOrientationPatient = numbers((turn @ axes).ravel())


def flipped_less(dataset: Dataset) -> None:
    dataset.FlipAngle = "89.5"


for _name, _about, _spoil, _modality in (
    ("direction-alternates", "every second slice turned by 0.0003 radians", turned_a_little, "CT"),
    ("flip-angle-alternates", "a FlipAngle in every second slice alone", flipped_less, "MR"),
):
    add(_name, _about, partial(alternating, spoil=_spoil, modality=_modality))


def shifted_phases(folder: Path, rng: Generator, *, part: float, modality: str) -> Truth:
    """A second acquisition, after contrast, lies a part of a step from the first."""
    one = Stack(rng, modality=modality)
    positions = [position + part * one.grid.step for position in one.positions]
    two = Stack(
        rng,
        one.grid,
        positions=positions,
        modality=modality,
        identity=one.identity,
        offset=STEP,
        first=10,
    )
    for number, dataset in enumerate([*one.datasets, *two.datasets]):
        phases(dataset, number // 9, number % 9)
    for dataset in two.datasets:
        dataset.ContrastBolusAgent = "Agent"
    write(folder, one.datasets + two.datasets, rng)
    shifted = replace(one.grid, origin=positions[0])
    return Truth((), others=((one.volume(), replace(two.volume(), affine=shifted.affine)),))


add(
    "phases-half-a-slice-apart",
    "two acquisitions of CT, the second half a slice further",
    partial(shifted_phases, part=0.5, modality="CT"),
)
add(
    "phases-half-a-slice-apart-mr",
    "two acquisitions of MR, the second half a slice further",
    partial(shifted_phases, part=0.5, modality="MR"),
)
add(
    "phases-nearly-at-one-place",
    "two acquisitions of MR, the second 0.02 mm further",
    partial(shifted_phases, part=0.008, modality="MR"),
)


def localizer(folder: Path, rng: Generator, *, count: int = 1, size: tuple[int, int] = (14, 12)) -> Truth:
    stack = Stack(rng)
    stack.datasets = stack.datasets
    place = grid(rng, "coronal", shape=(*size, count))
    scout = Stack(rng, place, identity=stack.identity, offset=300.0, first=10)
    for dataset in scout.datasets:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    write(folder, stack.datasets + scout.datasets, rng)
    return Truth((stack.volume(), replace(scout.volume(), required=False)))


_DROP = ("drop-localizer",)
add("localizer", "a localizer in another plane", partial(localizer), _DROP)
add("localizer-other-size", "a localizer of another size", partial(localizer, size=(21, 17)), _DROP)
add("localizers-two", "two parallel localizer slices", partial(localizer, count=2), _DROP)


@kind("three planes with three slices each, as a scout has them")
def three_planes(folder: Path, rng: Generator) -> Truth:
    identity = Identity.new(rng)
    stacks = [
        Stack(
            rng,
            grid(rng, plane, shape=(14, 12, 3)),
            modality="MR",
            identity=identity,
            offset=STEP * number,
            first=3 * number + 1,
        )
        for number, plane in enumerate(("axial", "coronal", "sagittal"))
    ]
    write(folder, [dataset for stack in stacks for dataset in stack.datasets], rng)
    return Truth(tuple(stack.volume() for stack in stacks))


@kind("one slice in each of three planes")
def three_planes_one_slice(folder: Path, rng: Generator) -> Truth:
    identity = Identity.new(rng)
    stacks = [
        Stack(
            rng,
            grid(rng, plane, shape=(14, 12, 1)),
            modality="MR",
            identity=identity,
            offset=STEP * number,
            first=number + 1,
        )
        for number, plane in enumerate(("axial", "coronal", "sagittal"))
    ]
    write(folder, [dataset for stack in stacks for dataset in stack.datasets], rng)
    return Truth(tuple(stack.volume() for stack in stacks))


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


@kind("original slices and derived ones, averaged, between them in one series")
def original_and_derived(folder: Path, rng: Generator) -> Truth:
    def mark(dataset: Dataset, one: int, number: int) -> None:
        dataset.ImageType = [("ORIGINAL", "DERIVED")[one], "PRIMARY", "AXIAL"]

    return volumes(folder, rng, mark=mark, modality="CT", interleaved=True)


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
