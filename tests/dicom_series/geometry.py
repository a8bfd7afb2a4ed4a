"""Where slices lie: planes, shear, and what position and orientation may say."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from tests.dicom_series.grids import PLANES, grid, rotation
from tests.dicom_series.kinds import add, kind
from tests.dicom_series.stacks import Stack, numbers
from tests.dicom_series.truth import Truth


def plain(folder: Path, rng: Generator, *, modality: str = "CT", **options: Any) -> Truth:
    stack = Stack(rng, grid(rng, **options), modality=modality)
    stack.write(folder)
    return stack.truth()


for _plane in PLANES:
    add(_plane, f"{_plane} slices", partial(plain, plane=_plane))
    add(
        f"{_plane}-down",
        f"{_plane} slices, sorted against the normal",
        partial(plain, plane=_plane, down=True),
    )
    add(
        f"{_plane}-oblique",
        f"{_plane} slices turned about three axes",
        partial(plain, plane=_plane, angles=(0.21, -0.33, 0.17)),
    )
add(
    "far-oblique",
    "slices turned by nearly 45 degrees",
    partial(plain, angles=(0.77, 0.6, -0.7), modality="MR"),
)
add("feet-first", "rows and columns turned by 180 degrees", partial(plain, angles=(0, 0, np.pi)))
add("one-slice", "a series of a single slice", partial(plain, shape=(14, 12, 1)))
add("two-slices", "a series of two slices", partial(plain, shape=(14, 12, 2)))
add("tall", "more slices than pixels", partial(plain, shape=(7, 5, 23)))


@kind("micro-CT: slices 0.009 mm apart, pixels as small")
def micro_ct(folder: Path, rng: Generator) -> Truth:
    place = grid(rng)
    step = 0.009 * place.normal
    small = replace(place, origin=place.origin.round(3), step=step, spacing=(0.009, 0.009))
    stack = Stack(rng, small)
    stack.write(folder)
    return Truth((replace(stack.volume(), place=1e-5),))


@kind("micro-CT: slices 0.009 mm apart, one of them missing", ("resample",))
def micro_ct_gap(folder: Path, rng: Generator) -> Truth:
    place = grid(rng)
    step = 0.009 * place.normal
    stack = Stack(rng, replace(place, origin=place.origin.round(3), step=step, spacing=(0.009, 0.009)))
    del stack.datasets[4]
    stack.write(folder)
    slabs = tuple(replace(stack.volume(first, 4), place=1e-5) for first in (0, 5))
    return Truth((), others=(slabs,), repaired=((replace(stack.regridded(), place=1e-4),),))


def leaning(
    folder: Path, rng: Generator, *, modality: str = "CT", tilt: float | None = None, **options: Any
) -> Truth:
    """Sheared slices; ``tilt`` in degrees is what GantryDetectorTilt says."""
    stack = Stack(rng, grid(rng, **options), modality=modality)
    for dataset in stack.datasets if tilt is not None else []:
        dataset.GantryDetectorTilt = f"{tilt:.1f}"
    stack.write(folder)
    return Truth((stack.volume(),), repaired=((stack.regridded(),),))


def tilted(angle: float, said: bool = True) -> partial[Truth]:
    """A gantry that leans by so many radians, while the table moves along z."""
    tilt = np.rad2deg(angle) if said else None
    return partial(leaning, angles=(angle, 0, 0), shear=(0, float(np.tan(angle))), tilt=tilt)


_DESHEAR = ("deshear",)
add("tilt", "gantry tilt: slices lean, the table moves along z", tilted(0.25), _DESHEAR)
add("tilt-unsaid", "gantry tilt without GantryDetectorTilt", tilted(0.25, said=False), _DESHEAR)
add("tilt-negative", "gantry tilt to the other side", tilted(-0.3), _DESHEAR)
add("tilt-small", "gantry tilt of one degree", tilted(0.0175), _DESHEAR)
add("shear-along-rows", "slices shifted along the rows", partial(leaning, shear=(0.2, 0)), _DESHEAR)
add(
    "shear-both",
    "slices shifted along rows and columns",
    partial(leaning, shear=(-0.15, 0.22), modality="MR"),
    _DESHEAR,
)
add(
    "shear-oblique-down",
    "oblique, sorted against the normal, and sheared",
    partial(leaning, angles=(0.2, 0.3, -0.1), shear=(0.1, 0.25), down=True),
    _DESHEAR,
)


@kind("SliceThickness twice the distance of the slices")
def thick_overlapping(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for dataset in stack.datasets:
        dataset.SliceThickness = numbers([2 * stack.grid.thickness])[0]
    stack.write(folder)
    return stack.truth()


@kind("SliceThickness and SpacingBetweenSlices half the distance of the slices, an even gap between all")
def thin_with_even_gaps(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng, modality="MR")
    for dataset in stack.datasets:
        dataset.SliceThickness = numbers([0.5 * stack.grid.thickness])[0]
    stack.write(folder)
    return stack.truth()


@kind("SpacingBetweenSlices that lies: positions say something else")
def spacing_between_slices_lies(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng, modality="MR")
    for dataset in stack.datasets:
        dataset.SpacingBetweenSlices = numbers([1.7 * stack.grid.thickness])[0]
    stack.write(folder)
    return stack.truth()


@kind("a negative SpacingBetweenSlices")
def spacing_between_slices_negative(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng, modality="MR")
    for dataset in stack.datasets:
        dataset.SpacingBetweenSlices = numbers([-stack.grid.thickness])[0]
    stack.write(folder)
    return stack.truth()


@kind("SliceLocation runs the other way, and from another zero")
def slice_location_lies(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for number, dataset in enumerate(stack.datasets):
        dataset.SliceLocation = numbers([500 - 3.0 * number])[0]
    stack.write(folder)
    return stack.truth()


@kind("no SliceLocation, SliceThickness or SpacingBetweenSlices")
def positions_only(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for dataset in stack.datasets:
        del dataset.SliceLocation, dataset.SliceThickness
    stack.write(folder)
    return stack.truth()


@kind("InstanceNumbers in an order by chance")
def instance_numbers_shuffled(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for dataset, number in zip(stack.datasets, rng.permutation(9), strict=True):
        dataset.InstanceNumber = int(number) + 1
    stack.write(folder)
    return stack.truth()


@kind("InstanceNumbers descend along the normal")
def instance_numbers_descending(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for number, dataset in enumerate(stack.datasets):
        dataset.InstanceNumber = 9 - number
    stack.write(folder)
    return stack.truth()


@kind("slices scanned odd ones first, InstanceNumbers and times by acquisition")
def interleaved_acquisition(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng, modality="MR")
    for count, number in enumerate([*range(0, 9, 2), *range(1, 9, 2)]):
        stack.datasets[number].InstanceNumber = count + 1
        stack.datasets[number].AcquisitionTime = f"1011{count:02}.5"
    stack.write(folder)
    return stack.truth()


@kind("no InstanceNumber")
def instance_numbers_absent(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for dataset in stack.datasets:
        dataset.InstanceNumber = None
    stack.write(folder)
    return stack.truth()


@kind("the same InstanceNumber in every slice")
def instance_numbers_equal(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for dataset in stack.datasets:
        dataset.InstanceNumber = 1
    stack.write(folder)
    return stack.truth()


@kind("direction cosines rounded to three digits, so not of unit length")
def cosines_rounded(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng, grid(rng, angles=(0.21, -0.33, 0.17)))
    for dataset in stack.datasets:
        dataset.ImageOrientationPatient = [f"{float(value):.3f}" for value in dataset.ImageOrientationPatient]
    stack.write(folder)
    return Truth((stack.volume(place=0.05),))


@kind("direction cosines of length 1.2")
def cosines_not_unit(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for dataset in stack.datasets:
        dataset.ImageOrientationPatient = numbers([1.2 * float(v) for v in dataset.ImageOrientationPatient])
    stack.write(folder)
    # PixelSpacing is a distance in the patient, whatever the length of the directions.
    return stack.truth()


@kind("row and column directions not at a right angle")
def cosines_not_orthogonal(folder: Path, rng: Generator) -> Truth:
    place = grid(rng)
    leaning_column = np.array([np.sin(0.2), np.cos(0.2), 0])
    stack = Stack(rng, replace(place, column=leaning_column))
    stack.write(folder)
    # The standard forbids it (C.7.6.2.1.1), though the positions that it would mean are plain.
    return Truth((), others=((stack.volume(),),))


@kind("orientation jitters in the sixth digit between slices")
def cosines_jitter(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng, grid(rng, angles=(0.21, -0.33, 0.17)))
    for dataset in stack.datasets:
        exact = np.array(dataset.ImageOrientationPatient, float)
        dataset.ImageOrientationPatient = numbers((exact + rng.uniform(-2e-6, 2e-6, 6)).round(9))
    stack.write(folder)
    return stack.truth()


def turned_a_little(folder: Path, rng: Generator, *, angle: float) -> Truth:
    """One slice turned in its plane: its pixels are not where the grid has them."""
    stack = Stack(rng)
    turned = replace(
        stack.grid,
        row=rotation((0, 0, angle)) @ stack.grid.row,
        column=rotation((0, 0, angle)) @ stack.grid.column,
    )
    other = Stack(rng, turned, identity=stack.identity, values=stack.values)
    stack.datasets[4] = other.datasets[4]
    stack.datasets[4].InstanceNumber = 5
    stack.write(folder)
    alone = replace(other.volume(4, 1), required=False)
    return Truth((), others=((stack.volume(0, 4), stack.volume(5), alone),))


add(
    "one-slice-turned", "one slice turned by three degrees in its plane", partial(turned_a_little, angle=0.05)
)


@kind("one slice stored with rows from bottom to top")
def one_slice_flipped(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    place = stack.grid
    down = (place.shape[1] - 1) * place.spacing[0] * place.column
    flipped = replace(place, column=-place.column, origin=place.origin + down)
    other = Stack(rng, flipped, identity=stack.identity, values=stack.values)
    stack.datasets[3] = other.datasets[3]
    stack.datasets[3].InstanceNumber = 4
    stack.write(folder)
    alone = replace(other.volume(3, 1), required=False)
    # It covers the place of the slice just so: turned about, the volume is whole.
    return Truth((), others=((stack.volume(),), (stack.volume(0, 3), stack.volume(4), alone)))


@kind("one slice with another PixelSpacing")
def one_slice_other_spacing(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    finer = replace(stack.grid, spacing=(0.5, 0.55))
    other = Stack(rng, finer, identity=stack.identity, values=stack.values)
    stack.datasets[5] = other.datasets[5]
    stack.datasets[5].InstanceNumber = 6
    stack.write(folder)
    alone = replace(other.volume(5, 1), required=False)
    return Truth((), others=((stack.volume(0, 5), stack.volume(6), alone),))


@kind("radial slices about one axis")
def radial(folder: Path, rng: Generator) -> Truth:
    place = grid(rng, "coronal", shape=(14, 12, 1))
    first = Stack(rng, place, modality="MR")
    datasets, volumes = [], []
    for number in range(9):
        turn = rotation((0, 0, number * np.pi / 9))
        around = turn @ place.row
        turned = replace(place, row=around, step=turn @ place.step, origin=-6.5 * place.spacing[1] * around)
        stack = Stack(
            rng, turned, modality="MR", identity=first.identity, first=number + 1, offset=30.0 * number
        )
        datasets += stack.datasets
        volumes.append(stack.volume())
    first.datasets = datasets
    first.write(folder)
    return Truth((), others=(tuple(volumes),))


@kind("all slices at one place, as in a needle's or a perfusion's run without times", ())
def all_at_one_place(folder: Path, rng: Generator) -> Truth:
    place = grid(rng, shape=(14, 12, 1))
    first = Stack(rng, place)
    volumes = [first.volume()]
    for number in range(1, 6):
        stack = Stack(rng, place, identity=first.identity, first=number + 1, offset=40.0 * number)
        first.datasets += stack.datasets
        volumes.append(stack.volume())
    first.write(folder)
    return Truth((), others=(tuple(volumes),))
