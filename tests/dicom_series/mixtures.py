"""More than one volume in a series, at one place or nearly so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.random import Generator
from pydicom.dataset import Dataset

from tests.dicom_series.grids import grid
from tests.dicom_series.kinds import add, kind
from tests.dicom_series.stacks import Identity, Stack, numbers, write
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


def halves(folder: Path, rng: Generator, *, name: str, values: tuple[str, str]) -> Truth:
    """One even row, of which the second half is of another scan, as an attribute says that is one for a scan."""
    one = Stack(rng, modality="MR")
    two = Stack(rng, one.grid, modality="MR", identity=one.identity, offset=STEP)
    datasets = [*one.datasets[:5], *two.datasets[5:]]
    for number, dataset in enumerate(datasets):
        setattr(dataset, name, values[number >= 5])
    write(folder, datasets, rng)
    return Truth((), others=((one.volume(0, 5), two.volume(5)),))


add(
    "scanning-sequence-halves",
    "half of the slices of another ScanningSequence",
    partial(halves, name="ScanningSequence", values=("SE", "GR")),
)
add(
    "patient-position-halves",
    "half of the slices of another PatientPosition",
    partial(halves, name="PatientPosition", values=("HFS", "FFS")),
)
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


@kind("original slices and derived ones, averaged, between them in one series")
def original_and_derived(folder: Path, rng: Generator) -> Truth:
    def mark(dataset: Dataset, one: int, number: int) -> None:
        dataset.ImageType = [("ORIGINAL", "DERIVED")[one], "PRIMARY", "AXIAL"]

    return volumes(folder, rng, mark=mark, modality="CT", interleaved=True)
