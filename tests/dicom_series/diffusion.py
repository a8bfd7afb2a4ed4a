"""Diffusion and dynamic series: one place, many contrasts, told apart by standard and by private attributes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.random import Generator
from pydicom.dataset import Dataset

from tests.dicom_series.grids import grid
from tests.dicom_series.kinds import add, kind
from tests.dicom_series.mixtures import STEP, setter, volumes
from tests.dicom_series.stacks import Identity, Stack, numbers, write
from tests.dicom_series.truth import Truth

B_VALUES = (0.0, 500.0, 1000.0)
DIRECTIONS = ((1.0, 0.0, 0.0), (0.0, 0.8, 0.6), (-0.6, 0.0, 0.8))


def standard(dataset: Dataset, one: int, number: int) -> None:
    dataset.DiffusionBValue = B_VALUES[one]


def siemens(dataset: Dataset, one: int, number: int) -> None:
    dataset.Manufacturer = "SIEMENS"
    block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", str(int(B_VALUES[one])))
    block.add_new(0x0D, "CS", "NONE" if one == 0 else "DIRECTIONAL")


def general_electric(dataset: Dataset, one: int, number: int) -> None:
    dataset.Manufacturer = "GE MEDICAL SYSTEMS"
    block = dataset.private_block(0x0043, "GEMS_PARM_01", create=True)
    # Newer software adds 1e9 to the b-value.
    block.add_new(0x39, "IS", [str(1_000_000_000 + int(B_VALUES[one])), "8", "0", "0"])


def philips(dataset: Dataset, one: int, number: int) -> None:
    dataset.Manufacturer = "Philips Medical Systems"
    block = dataset.private_block(0x2001, "Philips Imaging DD 001", create=True)
    block.add_new(0x03, "FL", B_VALUES[one])


def directions(dataset: Dataset, one: int, number: int) -> None:
    dataset.DiffusionBValue = 1000.0
    dataset.DiffusionDirectionality = "DIRECTIONAL"
    dataset.DiffusionGradientOrientation = list(DIRECTIONS[one])


def with_adc(dataset: Dataset, one: int, number: int) -> None:
    if one == 2:
        dataset.ImageType = ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]
    else:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "DIFFUSION", "TRACEW"]
        dataset.DiffusionBValue = B_VALUES[one]


for _name, _about, _mark in (
    ("b-values", "three b-values in DiffusionBValue", standard),
    ("b-values-siemens", "three b-values in Siemens' private attribute", siemens),
    ("b-values-ge", "three b-values in GE's private attribute, with 1e9 added", general_electric),
    ("b-values-philips", "three b-values in Philips' private attribute", philips),
    ("directions", "one b-value, three directions of the gradient", directions),
    ("b-values-and-adc", "two b-values and the ADC map made of them", with_adc),
):
    add(_name, f"{_about}, one after the other", partial(volumes, mark=_mark, count=3))
    add(
        f"{_name}-interleaved",
        f"{_about}, in turn at every place",
        partial(volumes, mark=_mark, count=3, interleaved=True),
    )


def gated(dataset: Dataset, one: int, number: int) -> None:
    dataset.NominalPercentageOfCardiacPhase = (30.0, 75.0)[one]


def frame_times(dataset: Dataset, one: int, number: int) -> None:
    dataset.SeriesType = ["DYNAMIC", "IMAGE"]
    dataset.NumberOfTimeSlices, dataset.NumberOfSlices = 3, 9
    dataset.FrameReferenceTime, dataset.ActualFrameDuration = numbers([1000.0 * one + 500])[0], "1000"
    dataset.ImageIndex = one * 9 + number + 1


def perfusion(dataset: Dataset, one: int, number: int) -> None:
    """Times alone: every pass of the bolus takes its slices in the same order."""
    dataset.AcquisitionTime = dataset.ContentTime = f"1011{10 + one * 3 + number * 0.3:09.6f}"
    dataset.ImageComments = "perfusion"


def monoenergetic(dataset: Dataset, one: int, number: int) -> None:
    dataset.ImageType = ["DERIVED", "PRIMARY", "AXIAL", "CT_SOM5 MONO", ("VMI40", "VMI70")[one]]
    dataset.DerivationDescription = f"monoenergetic {(40, 70)[one]} keV"


for _name, _about, _mark, _modality, _count in (
    ("cardiac-percent", "two phases by NominalPercentageOfCardiacPhase", gated, "CT", 2),
    ("pet-dynamic", "three time frames by FrameReferenceTime", frame_times, "PT", 3),
    ("perfusion", "three passes by AcquisitionTime", perfusion, "MR", 3),
    ("monoenergetic", "two energies by the fifth value of ImageType", monoenergetic, "CT", 2),
    (
        "contrast-agent",
        "before and after ContrastBolusAgent",
        setter("ContrastBolusAgent", "", "Gd"),
        "MR",
        2,
    ),
    ("protocols", "two ScanOptions", setter("ScanOptions", "FS", "NONE"), "MR", 2),
):
    add(
        _name,
        f"{_about}, in turn at every place",
        partial(volumes, mark=_mark, modality=_modality, count=_count, interleaved=True),
    )


@kind("a b0 of all slices and a b1000 that was stopped after five")
def b_values_stopped(folder: Path, rng: Generator) -> Truth:
    truth = volumes(folder, rng, mark=standard, counts=(9, 5))
    return Truth(truth.volumes, others=(truth.volumes[:1],))


@kind("two b-values, of the second a slice is missing inside")
def b_values_gap(folder: Path, rng: Generator) -> Truth:
    identity, place = Identity.new(rng), grid(rng)
    one = Stack(rng, place, modality="MR", identity=identity)
    two = Stack(rng, place, modality="MR", identity=identity, offset=STEP, first=10)
    for stack, value in ((one, 0.0), (two, 1000.0)):
        for dataset in stack.datasets:
            dataset.DiffusionBValue = value
    del two.datasets[4]
    write(folder, one.datasets + two.datasets, rng)
    return Truth((), others=((one.volume(),), (one.volume(), two.volume(0, 4), two.volume(5))))


@kind("echoes on one half of the slices each: two volumes side by side, none of them doubled")
def echoes_side_by_side(folder: Path, rng: Generator) -> Truth:
    identity, place = Identity.new(rng), grid(rng)
    low = Stack(rng, place.part(0, 5), modality="MR", identity=identity)
    high = Stack(rng, place.part(5, 4), modality="MR", identity=identity, offset=STEP, first=6)
    for dataset in high.datasets:
        dataset.EchoTime = "80"
    write(folder, low.datasets + high.datasets, rng)
    return Truth((low.volume(), high.volume()))


@kind("a mosaic of nine slices in one picture, as Siemens stores a run")
def mosaic(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng, modality="MR")
    tiles = [np.frombuffer(dataset.PixelData, "<u2").reshape(12, 14) for dataset in stack.datasets]
    picture = np.block([[tiles[3 * row + column] for column in range(3)] for row in range(3)])
    page = stack.datasets[0]
    page.Manufacturer = "SIEMENS"
    page.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    page.Rows, page.Columns = picture.shape
    page.PixelData = picture.astype("<u2").tobytes()
    page.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 9)
    # The position is that of the corner of the whole picture, if it were a slice of this centre.
    place = stack.grid
    shift = place.row * place.spacing[1] * 14 + place.column * place.spacing[0] * 12
    page.ImagePositionPatient = numbers(place.origin - shift)
    write(folder, [page], rng)
    return Truth((), others=((stack.volume(),),))
