"""Stored numbers and what they mean: bits, signs, padding, rescaling, tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from tests.dicom_series.grids import grid
from tests.dicom_series.kinds import add, kind
from tests.dicom_series.stacks import ROUNDING, Coding, Stack, pixels, set_pixels
from tests.dicom_series.truth import REFUSAL, Truth


def coded(
    folder: Path,
    rng: Generator,
    *,
    coding: Coding,
    modality: str = "CT",
    scale: float = 1.0,
    offset: float = 0.0,
) -> Truth:
    stack = Stack(rng, modality=modality, coding=coding, scale=scale, offset=offset)
    stack.write(folder)
    return stack.truth()


_RAW = Coding(rescaled=False, intercept=0)
for _name, _about, _coding, _options in (
    ("signed-16", "signed, 16 bits, no intercept", Coding(intercept=0, bits_stored=16, signed=True), {}),
    ("signed-12", "signed, 12 of 16 bits, the sign carried on", Coding(intercept=0, signed=True), {}),
    ("unsigned-16", "unsigned, values over 32767", Coding(intercept=-40000, bits_stored=16), {}),
    ("unsigned-8", "eight bits", Coding(0.25, -20, 8, 8), {"scale": 0.05, "offset": 100.0}),
    ("signed-8", "eight bits, signed", Coding(0.25, 0, 8, 8, True), {"scale": 0.04, "offset": 100.0}),
    (
        "unsigned-32",
        "32 bits, values over 2**24",
        Coding(intercept=-2e7, bits_allocated=32, bits_stored=32),
        {},
    ),
    ("signed-32", "32 bits, signed", Coding(intercept=0, bits_allocated=32, bits_stored=32, signed=True), {}),
    ("slope-half", "a slope of one half", Coding(0.5, -1024, bits_stored=16), {}),
    ("slope-two", "a slope of two", Coding(2, -1024), {}),
    ("slope-odd", "a slope of 0.73 and an intercept of -911.5", Coding(0.73, -911.5), {}),
    ("slope-negative", "a slope of minus one", Coding(-1, 1024), {}),
    (
        "slope-small",
        "values below twenty with a slope of 0.0005",
        Coding(0.0005, 0, bits_stored=16),
        {"modality": "PT", "scale": 0.01, "offset": -693.0},
    ),
    ("pet", "PET with one slope", Coding(0.37, 0, bits_stored=16), {"modality": "PT"}),
    ("mr-rescaled", "MR with a slope and an intercept", Coding(1.7, -13), {"modality": "MR"}),
    ("rescale-absent", "CT without RescaleSlope and RescaleIntercept", _RAW, {"offset": 800.0}),
):
    add(_name, _about, partial(coded, coding=_coding, **_options))


def recoded(folder: Path, rng: Generator, *, codings: Sequence[Coding], modality: str = "CT") -> Truth:
    """Slices that are stored in different ways."""
    stack = Stack(rng, modality=modality, codings=codings)
    stack.write(folder)
    return stack.truth()


_SIGNED = Coding(intercept=0, bits_stored=16, signed=True)
for _name, _about, _codings, _modality in (
    (
        "pet-slope-per-slice",
        "PET with another slope in each slice",
        [Coding(0.1 + 0.07 * n, 0, bits_stored=16) for n in range(9)],
        "PT",
    ),
    (
        "pet-slope-per-slice-signed",
        "the same, signed",
        [Coding(0.1 + 0.07 * n, 0, bits_stored=16, signed=True) for n in range(9)],
        "PT",
    ),
    (
        "intercept-per-slice",
        "another intercept in each slice",
        [Coding(1, -1024 + 5 * n) for n in range(9)],
        "CT",
    ),
    ("slope-on-last-slice", "another slope in the last slice alone", [Coding()] * 8 + [Coding(0.5)], "CT"),
    ("signedness-mixed", "every other slice signed", [(Coding(), _SIGNED)[n % 2] for n in range(9)], "CT"),
    (
        "bits-mixed",
        "12 and 16 bits stored in turn",
        [Coding(bits_stored=(12, 16)[n % 2]) for n in range(9)],
        "CT",
    ),
    (
        "allocation-mixed",
        "16 and 32 bits allocated in turn",
        [Coding(bits_allocated=(16, 32)[n % 2]) for n in range(9)],
        "CT",
    ),
):
    add(_name, _about, partial(recoded, codings=_codings, modality=_modality))


@kind("garbage in the bits over BitsStored, as overlays left there")
def high_bits_garbage(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for dataset in stack.datasets:
        garbage = rng.integers(0, 16, (12, 14)).astype("<u2") << 12
        set_pixels(dataset, pixels(dataset) | garbage)
    stack.write(folder)
    return stack.truth()


@kind("signed, 12 of 16 bits, the sign not carried on")
def signed_12_bare(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng, coding=Coding(intercept=0, signed=True))
    for dataset in stack.datasets:
        set_pixels(dataset, pixels(dataset).view("<u2") & 0x0FFF)
    stack.write(folder)
    return stack.truth()


@kind("garbage over BitsStored in the last slice alone")
def high_bits_garbage_in_last(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    set_pixels(stack.datasets[8], pixels(stack.datasets[8]) | np.uint16(0x8000))
    stack.write(folder)
    return stack.truth()


@kind("HighBit 15 with 12 bits stored: numbers are shifted up by four")
def high_bit_shifted(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for dataset in stack.datasets:
        set_pixels(dataset, pixels(dataset) << 4)
        dataset.HighBit = 15
    stack.write(folder)
    # The standard has forbidden it since; before, it meant this.
    return Truth((), others=((stack.volume(),),))


@kind("unsigned numbers of 12 bits under a header that says signed")
def signed_header_lies(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng, modality="MR", offset=1100.0)
    for dataset in stack.datasets:
        dataset.PixelRepresentation = 1
    stack.write(folder)

    def wrapped(points: NDArray[np.float64]) -> NDArray[np.float64]:
        value = np.rint(stack.values(points))
        return np.where(value >= 2048, value - 4096, value)

    edge = replace(stack.volume(), values=wrapped, tolerance=1 + ROUNDING)
    return Truth((edge,), others=((stack.volume(),),))


def padded(
    folder: Path,
    rng: Generator,
    *,
    value: int,
    limit: int | None = None,
    coding: Coding,
    missing: tuple[int, ...] = (),
    **options: Any,
) -> Truth:
    """Corners of each slice hold the padding value, which is a stored number before any rescaling."""
    stack = Stack(rng, grid(rng, **options), coding=coding)
    hidden = np.zeros((14, 12, 9), bool)
    for number, dataset in enumerate(stack.datasets):
        stored = pixels(dataset)
        pad = np.zeros((12, 14), bool)
        pad[:3, :4] = pad[-2:, -3:] = True
        hidden[:, :, number] = pad.T
        # A volume of the same kind holds every number from one limit to the other.
        stored[pad] = (
            value if limit is None else rng.integers(min(value, limit), max(value, limit) + 1, pad.sum())
        )
        set_pixels(dataset, stored)
        tag = dataset.data_element
        dataset.PixelPaddingValue = value
        tag("PixelPaddingValue").VR = "SS" if coding.signed else "US"
        if limit is not None:
            dataset.PixelPaddingRangeLimit = limit
            tag("PixelPaddingRangeLimit").VR = "SS" if coding.signed else "US"
    stack.datasets = [dataset for number, dataset in enumerate(stack.datasets) if number not in missing]
    stack.write(folder)
    whole = () if missing else (replace(stack.volume(), hidden=hidden),)
    return Truth(whole, repaired=((replace(stack.regridded(), hidden=hidden),),))


_GE = Coding(bits_stored=16, signed=True)
add("padding", "PixelPaddingValue -2000 in the corners", partial(padded, value=-2000, coding=_GE))
add("padding-unsigned", "PixelPaddingValue 0 in the corners", partial(padded, value=0, coding=Coding()))
add("padding-high", "PixelPaddingValue 4095 in the corners", partial(padded, value=4095, coding=Coding()))
add(
    "padding-range",
    "a range of padding values in the corners",
    partial(padded, value=-2000, limit=-1900, coding=_GE),
)
add(
    "padding-like-a-value",
    "a padding value that, unscaled, is the value of many voxels",
    partial(padded, value=24, coding=Coding()),
)
_TILT = {"angles": (0.25, 0, 0), "shear": (0, float(np.tan(0.25)))}
add(
    "padding-tilted",
    "PixelPaddingValue 4000 in the corners of a tilted series",
    partial(padded, value=4000, coding=Coding(), **_TILT),
    ("deshear",),
)
add(
    "padding-gap",
    "PixelPaddingValue 4000 in the corners, and a slice is missing",
    partial(padded, value=4000, coding=Coding(), missing=(4,)),
    ("resample",),
)
add(
    "padding-gap-tilted",
    "PixelPaddingValue 4000 in the corners of a tilted series, and a slice is missing",
    partial(padded, value=4000, coding=Coding(), missing=(4,), **_TILT),
    ("deshear", "resample"),
)


@kind("PixelPaddingValue is said, and no voxel has it")
def padding_unused(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for dataset in stack.datasets:
        dataset.PixelPaddingValue = 0
        dataset["PixelPaddingValue"].VR = "US"
    stack.write(folder)
    return stack.truth()


@kind("MONOCHROME1: how it is shown, not what the numbers are")
def monochrome1(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng, modality="MR")
    for dataset in stack.datasets:
        dataset.PhotometricInterpretation = "MONOCHROME1"
    stack.write(folder)
    return stack.truth()


@kind("MONOCHROME1 with PresentationLUTShape INVERSE and a slope")
def monochrome1_inverse(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for dataset in stack.datasets:
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.PresentationLUTShape = "INVERSE"
    stack.write(folder)
    return stack.truth()


@kind("MONOCHROME1 in one slice alone")
def monochrome1_on_one(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    stack.datasets[4].PhotometricInterpretation = "MONOCHROME1"
    stack.write(folder)
    return Truth((), others=((stack.volume(),),))


@kind("a window, a VOI LUT and an overlay: for show, not for the numbers")
def windows_and_overlay(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for dataset in stack.datasets:
        dataset.WindowCenter, dataset.WindowWidth = ["40", "400"], ["80", "1500"]
        item = Dataset()
        item.LUTDescriptor, item.LUTData = [256, 0, 16], [65535 - 256 * n for n in range(256)]
        item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
        dataset.VOILUTSequence = Items([item])
        dataset.add_new(0x60000010, "US", 12)
        dataset.add_new(0x60000011, "US", 14)
        dataset.add_new(0x60000040, "CS", "G")
        dataset.add_new(0x60000050, "SS", [1, 1])
        dataset.add_new(0x60000100, "US", 1)
        dataset.add_new(0x60000102, "US", 0)
        dataset.add_new(0x60003000, "OW", bytes(rng.integers(0, 255, 22, dtype=np.uint8)))
    stack.write(folder)
    return stack.truth()


def table(
    folder: Path,
    rng: Generator,
    *,
    first: int,
    signed: bool = False,
    lut_type: str = "HU",
    length: int = 1024,
) -> Truth:
    """A modality LUT (PS3.3 C.11.1.1): stored numbers count from ``first``, and numbers beyond take the end's value."""
    stack = Stack(rng, modality="MR")
    for dataset in stack.datasets:
        goal = pixels(dataset).astype(int)
        base = int(goal.min()) if length > 1000 else 600
        entries = (base + np.arange(length)) & 0xFFFF
        stored = goal - base + first
        dataset.PixelRepresentation = int(signed)
        dataset.BitsStored, dataset.HighBit = 16, 15
        set_pixels(dataset, stored.astype("<i2" if signed else "<u2"))
        item = Dataset()
        item.add_new(0x00283002, "SS" if signed else "US", [length, first, 16])
        item.ModalityLUTType = lut_type
        item.LUTData = entries.tolist()
        item["LUTData"].VR = "US"
        dataset.ModalityLUTSequence = Items([item])
    stack.write(folder)
    if length > 1000:
        return stack.truth()

    def cut(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(stack.values(points), 600, 599 + length)

    return Truth((replace(stack.volume(), values=cut),))


add("modality-lut", "a modality LUT that counts from zero", partial(table, first=0))
add("modality-lut-first", "a modality LUT that counts from 300", partial(table, first=300))
add(
    "modality-lut-signed",
    "a modality LUT that counts from -200, the descriptor signed",
    partial(table, first=-200, signed=True),
)
add("modality-lut-density", "a modality LUT to optical density", partial(table, first=7, lut_type="OD"))
add(
    "modality-lut-short",
    "a modality LUT shorter than the range: ends go on",
    partial(table, first=500, length=300),
)


def said(
    folder: Path, rng: Generator, *, name: str, value: object, slices: Sequence[int] = range(9)
) -> Truth:
    stack = Stack(rng)
    for number in slices:
        if value is None:
            delattr(stack.datasets[number], name)
        else:
            stack.datasets[number].add_new(name, stack.datasets[number][name].VR, value)
    stack.write(folder)
    return REFUSAL


add("slope-zero", "a slope of zero", partial(said, name="RescaleSlope", value="0"))
add(
    "slope-absent-on-one",
    "no RescaleSlope and so no units on one slice",
    partial(said, name="RescaleIntercept", value=None, slices=(4,)),
)


@kind("RescaleType differs between slices, HU and OD")
def rescale_type_mixed(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for dataset in stack.datasets[5:]:
        dataset.RescaleType = "OD"
    stack.write(folder)
    return Truth((), others=((stack.volume(0, 5), stack.volume(5)),))


def with_comma(folder: Path, rng: Generator, *, name: str) -> Truth:
    stack = Stack(rng, grid(rng), coding=Coding(0.5, -1024.5, bits_stored=16))
    for dataset in stack.datasets:
        texts = dataset[name].value if dataset[name].VM > 1 else [dataset[name].value]
        # As bytes: the library itself would not write a comma.
        text = "\\".join(str(value).replace(".", ",") for value in texts)
        dataset.add_new(dataset[name].tag, "LO", text.split("\\"))
    stack.write(folder)
    paths = sorted(folder.iterdir())
    for path in paths:
        _as_decimal_string(path, dataset[name].tag)
    # It cannot mean anything else; to refuse it is as right.
    return Truth((), others=((stack.volume(),),))


def _as_decimal_string(path: Path, tag: int) -> None:
    key = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    data = path.read_bytes()
    if data.count(key + b"LO") != 1:
        raise ValueError(f"{tag} is not once in {path}")
    path.write_bytes(data.replace(key + b"LO", key + b"DS"))


add("comma-in-slope", "a decimal comma in RescaleSlope", partial(with_comma, name="RescaleSlope"))
add("comma-in-spacing", "decimal commas in PixelSpacing", partial(with_comma, name="PixelSpacing"))
add(
    "comma-in-position",
    "decimal commas in ImagePositionPatient",
    partial(with_comma, name="ImagePositionPatient"),
)


@kind("decimal strings with exponents, signs and spaces, as the standard allows")
def decimal_strings_odd(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng, coding=Coding(0.5, -1024, bits_stored=16))
    for dataset in stack.datasets:
        dataset.RescaleSlope, dataset.RescaleIntercept = "5.0E-1 ", " -1.024e+3"
        dataset.ImageOrientationPatient = ["+1.0", "0E0 ", "-0", "0.0", " 1", ".0"]
    stack.write(folder)
    return stack.truth()


@kind("Philips' private scale beside RescaleSlope")
def philips_scale(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng, modality="MR", coding=Coding(2.0, 0))
    for dataset in stack.datasets:
        dataset.Manufacturer = "Philips Medical Systems"
        block = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
        block.add_new(0x0D, "FL", 0.0)
        block.add_new(0x0E, "FL", 0.0125)
    stack.write(folder)

    def precise(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return stack.values(points) / (2.0 * 0.0125)

    # By the standard, or what the scanner measured (Chenevert et al. 2014): both are numbers with a meaning.
    floating = replace(stack.volume(), values=precise, tolerance=stack.volume().tolerance / 0.025)
    return Truth((stack.volume(),), others=((floating,),))


@kind("a real world value mapping beside the rescaling")
def real_world_value(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng, modality="MR", coding=Coding(2.0, 0))
    for dataset in stack.datasets:
        item = Dataset()
        item.RealWorldValueFirstValueMapped, item.RealWorldValueLastValueMapped = 0, 4095
        for name in ("RealWorldValueFirstValueMapped", "RealWorldValueLastValueMapped"):
            item[name].VR = "US"
        item.RealWorldValueIntercept, item.RealWorldValueSlope = 3.0, 0.125
        item.LUTExplanation = item.LUTLabel = "made"
        unit = Dataset()
        unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "1", "UCUM", "no units"
        item.MeasurementUnitsCodeSequence = Items([unit])
        dataset.RealWorldValueMappingSequence = Items([item])
    stack.write(folder)

    def real(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return stack.values(points) / 2.0 * 0.125 + 3.0

    mapped = replace(stack.volume(), values=real, tolerance=0.125 * (0.5 + ROUNDING))
    return Truth((stack.volume(),), others=((mapped,),))


def colour(folder: Path, rng: Generator, *, photometric: str, planar: int = 0) -> Truth:
    """Pictures in colour hold no values of tissue: there is no volume of numbers in them."""
    stack = Stack(rng, modality="MR")
    samples = 1 if photometric == "PALETTE COLOR" else 3
    for dataset in stack.datasets:
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = samples, photometric
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit = 7
        size = (12, 14) if samples == 1 else ((3, 12, 14) if planar else (12, 14, 3))
        set_pixels(dataset, rng.integers(0, 255, size).astype(np.uint8))
        if samples == 3:
            dataset.PlanarConfiguration = planar
        for name in ("Red", "Green", "Blue") if samples == 1 else ():
            dataset.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
            entries = rng.integers(0, 65535, 256).astype("<u2").tobytes()
            dataset.add_new(f"{name}PaletteColorLookupTableData", "OW", entries)
    stack.write(folder)
    return REFUSAL


add("rgb", "slices in colour", partial(colour, photometric="RGB"))
add("rgb-planar", "slices in colour, plane by plane", partial(colour, photometric="RGB", planar=1))
add("palette-colour", "slices in a palette of colours", partial(colour, photometric="PALETTE COLOR"))
