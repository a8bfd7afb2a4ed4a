"""Slices that are missing, doubled, or not evenly spaced."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.random import Generator
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from tests.dicom_series.grids import grid
from tests.dicom_series.kinds import add, kind
from tests.dicom_series.stacks import Coding, Stack, numbers, pixels, set_pixels, uid
from tests.dicom_series.truth import REFUSAL, Truth

_RESAMPLE = ("resample",)


def without(folder: Path, rng: Generator, *, missing: tuple[int, ...], **options: object) -> Truth:
    """Slices are missing inside: the slabs between are whole, the volume is not."""
    stack = Stack(rng, grid(rng, **options))
    kept = [number for number in range(9) if number not in missing]
    stack.datasets = [stack.datasets[number] for number in kept]
    stack.write(folder)
    breaks = [0, *(n for n in range(1, len(kept)) if kept[n] != kept[n - 1] + 1), len(kept)]
    slabs = tuple(stack.volume(kept[one], two - one) for one, two in pairwise(breaks))
    return Truth((), others=(slabs,), repaired=((stack.regridded(),),))


add("gap-one", "a slice is missing inside", partial(without, missing=(4,)), _RESAMPLE)
add("gap-second", "the second slice is missing", partial(without, missing=(1,)), _RESAMPLE)
add("gap-last-but-one", "the last slice but one is missing", partial(without, missing=(7,)), _RESAMPLE)
add("gap-two-apart", "two slices are missing, apart", partial(without, missing=(2, 6)), _RESAMPLE)
add("gap-two-together", "two neighbouring slices are missing", partial(without, missing=(5, 6)), _RESAMPLE)
add(
    "gap-oblique",
    "a slice is missing in an oblique series",
    partial(without, missing=(3,), angles=(0.2, 0.3, -0.4)),
    _RESAMPLE,
)


@kind("a slice is missing in a tilted series", ("deshear", "resample"))
def gap_tilted(folder: Path, rng: Generator) -> Truth:
    return without(folder, rng, missing=(4,), angles=(0.25, 0, 0), shear=(0, float(np.tan(0.25))))


@kind("slices are missing at the end, with nothing that says so")
def end_missing(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    del stack.datasets[7:]
    stack.write(folder)
    return Truth((stack.volume(0, 7),))


@kind("ImagesInAcquisition is nine, seven are there: the last are missing")
def end_missing_counted(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for dataset in stack.datasets:
        dataset.ImagesInAcquisition = 9
    del stack.datasets[7:]
    stack.write(folder)
    return Truth((), others=((stack.volume(0, 7),),))


@kind("ImagesInAcquisition is right")
def images_in_acquisition(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for dataset in stack.datasets:
        dataset.ImagesInAcquisition = 9
    stack.write(folder)
    return stack.truth()


def along(folder: Path, rng: Generator, *, steps: tuple[float, ...], parts: tuple[int, ...] = ()) -> Truth:
    """Slices at multiples of the grid's step, with pixels of where they are.

    Args:
        folder: of the files.
        rng: of all numbers.
        steps: the places.
        parts: how many slices each even part has, where the parts can stand alone.
    """
    place = grid(rng)
    positions = [place.origin + step * place.step for step in steps]
    stack = Stack(rng, place, positions=positions)
    stack.write(folder)
    slabs, first = [], 0
    for count in parts:
        step = (steps[first + count - 1] - steps[first]) / max(count - 1, 1)
        part = replace(
            place, origin=positions[first], step=step * place.step, shape=(*place.shape[:2], count)
        )
        slabs.append(replace(stack.volume(), affine=part.affine, shape=part.shape))
        first += count
    whole = stack.regridded(round(steps[-1]) + 1)
    return Truth((), others=(tuple(slabs),) if slabs else (), repaired=((whole,),))


add(
    "two-spacings",
    "slices are twice as far apart in the second half",
    partial(along, steps=(0, 1, 2, 3, 4, 6, 8, 10), parts=(5, 3)),
    _RESAMPLE,
)
add(
    "two-slabs",
    "two slabs with a gap of three and a half slices",
    partial(along, steps=(0, 1, 2, 3, 7.5, 8.5, 9.5, 10.5), parts=(4, 4)),
)
add(
    "growing-spacing",
    "every distance is larger than the one before",
    partial(along, steps=(0, 1, 2.1, 3.3, 4.6, 6, 7.5, 9)),
    _RESAMPLE,
)
add(
    "one-step-short",
    "one distance is shorter by a fifth",
    partial(along, steps=(0, 1, 2, 3, 3.8, 4.8, 5.8, 6.8, 7.8, 9)),
    _RESAMPLE,
)
add(
    "thick-then-thin",
    "thick slices at the base, thin ones above, as in old head scans",
    partial(along, steps=(0, 1.6, 3.2, 4.8, 5.8, 6.8, 7.8, 9)),
    _RESAMPLE,
)


def jittered(folder: Path, rng: Generator, *, jitter: float, through: bool = True) -> Truth:
    place = grid(rng)
    shifts = rng.uniform(-jitter, jitter, 9)
    shifts[[3, 5]] = jitter, -jitter
    shifts[[0, -1]] = 0
    direction = place.normal if through else place.row
    positions = [one + shift * direction for one, shift in zip(place.positions, shifts, strict=True)]
    # Pixels of where the slices say they are: a grid within 0.1 mm is what a careful person would take for even.
    stack = Stack(rng, place, positions=positions)
    stack.write(folder)
    slack = jitter * 35
    true = replace(
        stack.volume(), place=0.02 + 5 * jitter, tolerance=stack.codings[0].tolerance + min(slack, 4.0)
    )
    if jitter <= 0.02:
        return Truth((true,))
    return Truth((), repaired=((replace(stack.regridded(), tolerance=1.6),),))


add("jitter-0.001", "positions jitter by a thousandth of a millimetre", partial(jittered, jitter=0.001))
add("jitter-0.01", "positions jitter by a hundredth of a millimetre", partial(jittered, jitter=0.01))
add("jitter-0.4", "positions jitter by 0.4 mm along the normal", partial(jittered, jitter=0.4), _RESAMPLE)
add(
    "jitter-0.4-in-plane",
    "positions jitter by 0.4 mm along the rows",
    partial(jittered, jitter=0.4, through=False),
    _RESAMPLE,
)


@kind("positions rounded to whole tenths of a millimetre, distances of 2.5333 mm")
def positions_rounded(folder: Path, rng: Generator) -> Truth:
    place = replace(grid(rng), step=np.array([0, 0, 2.0 + 8 / 15]))
    stack = Stack(rng, place)
    for dataset in stack.datasets:
        dataset.ImagePositionPatient = [f"{float(value):.1f}" for value in dataset.ImagePositionPatient]
    stack.write(folder)
    return Truth((stack.volume(place=0.12),))


@kind("the same files twice under other names")
def files_twice(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    stack.datasets += stack.datasets
    stack.write(folder)
    return stack.truth()


@kind("one file twice under another name")
def one_file_twice(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    stack.datasets.append(stack.datasets[4])
    stack.write(folder)
    return stack.truth()


@kind("one slice twice with another SOPInstanceUID and the same pixels")
def slice_twice_other_uid(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    again = Stack(rng, stack.grid, identity=stack.identity, values=stack.values).datasets[4]
    again.InstanceNumber = 10
    stack.datasets.append(again)
    stack.write(folder)
    return stack.truth()


@kind("all slices twice with other SOPInstanceUIDs and the same pixels")
def series_twice_other_uids(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    stack.datasets += Stack(rng, stack.grid, identity=stack.identity, values=stack.values, first=10).datasets
    stack.write(folder)
    return Truth((stack.volume(),), others=((stack.volume(), stack.volume()),))


@kind("two slices at one place with other pixels: which is right is not known", ("drop-duplicates",))
def place_twice_other_pixels(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    again = Stack(rng, stack.grid, identity=stack.identity, values=stack.values).datasets[4]
    set_pixels(again, pixels(again) + 77)
    again.InstanceNumber = 10
    stack.datasets.append(again)
    stack.write(folder)
    place = stack.grid.normal @ stack.positions[4]

    def with_the_other(points: np.ndarray) -> np.ndarray:
        lps = points * [-1, -1, 1]
        return stack.values(points) + 77 * (np.abs(lps @ stack.grid.normal - place) < 0.1)

    other = replace(stack.volume(), values=with_the_other)
    return Truth((), repaired=((stack.volume(),), (other,)))


@kind("one SOPInstanceUID for two files with other pixels")
def uid_twice_other_pixels(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    stack.datasets[4].SOPInstanceUID = stack.datasets[5].SOPInstanceUID
    stack.write(folder)
    # Every slice has its place: the fault is in the name alone.
    return Truth((), others=((stack.volume(),),))


def sent_again(
    folder: Path, rng: Generator, *, change: Callable[[Dataset], None], coding: Coding | None = None
) -> Truth:
    """One object came twice, with the same pixels that mean other values the second time."""
    stack = Stack(rng, coding=coding)
    again = deepcopy(stack.datasets[4])
    change(again)
    stack.datasets.append(again)
    stack.write(folder)
    # Padding has no value: what is read is right whichever is meant, and what is left out is not.
    return Truth((), others=((stack.volume(),),)) if change is _padded else REFUSAL


def _halved(dataset: Dataset) -> None:
    dataset.RescaleSlope = "0.5"


def _unsigned(dataset: Dataset) -> None:
    dataset.PixelRepresentation = 0


def _of_eight_bits(dataset: Dataset) -> None:
    dataset.BitsStored, dataset.HighBit = 8, 7


def _by_table(dataset: Dataset) -> None:
    del dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 16])
    item.ModalityLUTType = "HU"
    item.add_new("LUTData", "US", list(range(4096)))
    dataset.ModalityLUTSequence = Items([item])


def _padded(dataset: Dataset) -> None:
    dataset.add_new("PixelPaddingValue", "US", int(pixels(dataset)[3, 3]))


_SIGNED = Coding(intercept=0, bits_stored=16, signed=True)
for _name, _about, _change, _coding in (
    ("slope", "another RescaleSlope", _halved, None),
    ("sign", "another PixelRepresentation", _unsigned, _SIGNED),
    ("bits", "another BitsStored", _of_eight_bits, None),
    ("table", "a modality LUT in place of the slope", _by_table, None),
    ("padding", "a PixelPaddingValue that the first has not", _padded, None),
):
    add(
        f"uid-twice-other-{_name}",
        f"an object twice with the same pixels, and {_about} the second time",
        partial(sent_again, change=_change, coding=_coding),
    )


@kind("the one slice of a series twice under one SOPInstanceUID, with another SliceThickness the second time")
def uid_twice_other_thickness(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng, grid(rng, shape=(14, 12, 1)))
    again = deepcopy(stack.datasets[0])
    again.SliceThickness = numbers([stack.grid.thickness / 2])[0]
    stack.datasets.append(again)
    stack.write(folder)
    return REFUSAL


@kind(
    "a slice of each of two passes twice under one SOPInstanceUID, with the other's AcquisitionNumber the second time"
)
def uid_twice_other_acquisition(folder: Path, rng: Generator) -> Truth:
    one = Stack(rng, modality="MR")
    two = Stack(rng, one.grid, modality="MR", identity=one.identity, first=10, offset=300)
    for dataset in two.datasets:
        dataset.AcquisitionNumber = 2
    again = [deepcopy(stack.datasets[4]) for stack in (one, two)]
    again[0].AcquisitionNumber, again[1].AcquisitionNumber = 2, 1
    one.datasets += two.datasets + again
    one.write(folder)
    return REFUSAL


@kind("a slice is missing, and another stands twice: the number of files is right", _RESAMPLE)
def gap_and_duplicate(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    again = Stack(rng, stack.grid, identity=stack.identity, values=stack.values).datasets[6]
    again.SOPInstanceUID, again.InstanceNumber = uid(rng), 4
    stack.datasets[3] = again
    stack.write(folder)
    slabs = (stack.volume(0, 3), stack.volume(4))
    return Truth((), others=(slabs,), repaired=((stack.regridded(),),))


@kind("one slice with fewer rows")
def one_slice_fewer_rows(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    shorter = replace(stack.grid, shape=(14, 10, 9))
    other = Stack(rng, shorter, identity=stack.identity, values=stack.values)
    stack.datasets[4] = other.datasets[4]
    stack.write(folder)
    alone = replace(other.volume(4, 1), required=False)
    return Truth((), others=((stack.volume(0, 4), stack.volume(5), alone),))


@kind("no ImagePositionPatient on one slice")
def position_absent_on_one(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    del stack.datasets[4].ImagePositionPatient
    stack.write(folder)
    return Truth((), others=((stack.volume(0, 4), stack.volume(5)),))


@kind("no ImagePositionPatient on the last slice")
def position_absent_on_last(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    del stack.datasets[8].ImagePositionPatient
    stack.write(folder)
    # What is left looks whole: it may be given, with a word about the slice.
    return Truth((), told=((stack.volume(0, 8),),))


def lacking(folder: Path, rng: Generator, *, names: tuple[str, ...], empty: bool = False) -> Truth:
    stack = Stack(rng)
    for dataset in stack.datasets:
        for name in names:
            if empty:
                setattr(dataset, name, None)
            else:
                delattr(dataset, name)
    stack.write(folder)
    return REFUSAL


_PLACE = ("ImagePositionPatient", "ImageOrientationPatient")
add("position-absent", "no ImagePositionPatient", partial(lacking, names=_PLACE[:1]))
add("orientation-absent", "no ImageOrientationPatient", partial(lacking, names=_PLACE[1:]))
add("pixel-spacing-absent", "no PixelSpacing", partial(lacking, names=("PixelSpacing",)))
add("pixel-spacing-empty", "an empty PixelSpacing", partial(lacking, names=("PixelSpacing",), empty=True))
add("position-empty", "an empty ImagePositionPatient", partial(lacking, names=_PLACE[:1], empty=True))
add(
    "geometry-absent",
    "no position, orientation or spacing: photographs",
    partial(lacking, names=(*_PLACE, "PixelSpacing", "SliceLocation", "SliceThickness")),
)


def spoiled(folder: Path, rng: Generator, *, name: str, values: tuple[str, ...]) -> Truth:
    stack = Stack(rng)
    for dataset in stack.datasets:
        setattr(dataset, name, list(values))
    stack.write(folder)
    return REFUSAL


add("pixel-spacing-zero", "a PixelSpacing of zero", partial(spoiled, name="PixelSpacing", values=("0", "0")))
add(
    "orientation-zero",
    "direction cosines of zero",
    partial(spoiled, name="ImageOrientationPatient", values=("0",) * 6),
)
add(
    "orientation-parallel",
    "row and column directions are the same",
    partial(spoiled, name="ImageOrientationPatient", values=("1", "0", "0", "1", "0", "0")),
)
add(
    "position-of-two",
    "positions of two numbers",
    partial(spoiled, name="ImagePositionPatient", values=("1", "0")),
)


@kind("ImagerPixelSpacing in place of PixelSpacing, as projections have it")
def imager_pixel_spacing(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for dataset in stack.datasets:
        dataset.ImagerPixelSpacing = numbers(stack.grid.spacing)
        del dataset.PixelSpacing
    stack.write(folder)
    # At the detector, magnified: no distance in the patient (C.8.7.3.1.2 and 10.7.1.3).
    return REFUSAL
