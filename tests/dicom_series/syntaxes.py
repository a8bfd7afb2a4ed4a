"""Compressed transfer syntaxes, single slices."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import gdcm
from numpy.random import Generator
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    JPEG2000,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from tests.dicom_series.kinds import add, kind
from tests.dicom_series.stacks import Coding, Stack, save, write
from tests.dicom_series.truth import Truth

# gdcm's names of what pydicom has no encoder for, or none that takes pictures of fewer than 32 pixels a side.
BY_GDCM = {
    JPEG2000Lossless: gdcm.TransferSyntax.JPEG2000Lossless,
    JPEG2000: gdcm.TransferSyntax.JPEG2000,
    JPEGLossless: gdcm.TransferSyntax.JPEGLosslessProcess14,
    JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    JPEGBaseline8Bit: gdcm.TransferSyntax.JPEGBaselineProcess1,
    JPEGExtended12Bit: gdcm.TransferSyntax.JPEGExtendedProcess2_4,
}
OPTIONS = {JPEGLSNearLossless: {"jls_error": 2}}
LOSSY_SYNTAXES = (JPEGLSNearLossless, JPEG2000, JPEGBaseline8Bit, JPEGExtended12Bit)
SIGNED = Coding(intercept=0, bits_stored=16, signed=True)
EIGHT = Coding(0.25, -20, 8, 8)
# Lossy numbers may be off by so much; a neighbour along the slices is 61 away, one along a column 14.
LOSSY = 6.0


def compress(path: Path, syntax: str) -> None:
    """Compresses a file in its place."""
    if syntax in BY_GDCM:
        _compress_by_gdcm(path, syntax)
        return
    dataset = dcmread(path)
    dataset.compress(syntax, generate_instance_uid=False, **OPTIONS.get(syntax, {}))
    if syntax in LOSSY_SYNTAXES:
        dataset.LossyImageCompression = "01"
    save(path, dataset)


def _compress_by_gdcm(path: Path, syntax: str) -> None:
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(BY_GDCM[syntax]))
    if not reader.Read():
        raise RuntimeError(f"gdcm does not read {path}")
    image = reader.GetImage()
    if syntax == JPEGExtended12Bit and dcmread(path).BitsStored == 12:
        # Of 16 bits allocated gdcm makes pictures of 16 bits, which this process has not.
        numbers = image.GetPixelFormat()
        numbers.SetBitsAllocated(12)
        image.SetPixelFormat(numbers)
    change.SetInput(image)
    if not change.Change():
        raise RuntimeError(f"gdcm does not compress {path} as {syntax}")
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    dataset = dcmread(path)
    writer.SetFileName(str(path))
    if not writer.Write():
        raise RuntimeError(f"gdcm does not write {path}")
    # Its pixels alone: gdcm writes attributes of its own, other places among them.
    dataset.PixelData = dcmread(path).PixelData
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax in LOSSY_SYNTAXES:
        dataset.LossyImageCompression = "01"
    save(path, dataset)


def compressed(
    folder: Path, rng: Generator, *, syntax: str, coding: Coding | None = None, lossy: bool = False
) -> Truth:
    small = {"scale": 0.05, "offset": 100.0} if coding is EIGHT else {}
    stack = Stack(rng, coding=coding, **small)
    for path in write(folder, stack.datasets, rng):
        compress(path, syntax)
    volume = stack.volume()
    return Truth((replace(volume, tolerance=LOSSY * stack.codings[0].slope) if lossy else volume,))


for _name, _syntax in (
    ("rle", RLELossless),
    ("jpeg-lossless", JPEGLosslessSV1),
    ("jpeg-lossless-14", JPEGLossless),
    ("jpeg-ls", JPEGLSLossless),
    ("jpeg-2000", JPEG2000Lossless),
):
    add(_name, f"{_syntax.name}, 12 bits unsigned", partial(compressed, syntax=_syntax))
    add(
        f"{_name}-signed",
        f"{_syntax.name}, 16 bits signed",
        partial(compressed, syntax=_syntax, coding=SIGNED),
    )
    add(f"{_name}-8", f"{_syntax.name}, 8 bits", partial(compressed, syntax=_syntax, coding=EIGHT))
for _name, _syntax, _coding in (
    ("jpeg-ls-near", JPEGLSNearLossless, None),
    ("jpeg-2000-lossy", JPEG2000, None),
    ("jpeg-extended", JPEGExtended12Bit, None),
    ("jpeg-extended-8", JPEGExtended12Bit, EIGHT),
    ("jpeg-baseline", JPEGBaseline8Bit, EIGHT),
):
    _bits = 12 if _coding is None else 8
    add(
        _name,
        f"{_syntax.name}, {_bits} bits, with loss",
        partial(compressed, syntax=_syntax, coding=_coding, lossy=True),
    )


def sign_lost(folder: Path, rng: Generator, *, offset: float) -> Truth:
    """The header of signed numbers says unsigned: negative ones would become large."""
    stack = Stack(rng, coding=SIGNED, offset=offset)
    for path in write(folder, stack.datasets, rng):
        compress(path, JPEG2000Lossless)
        dataset = dcmread(path)
        dataset.PixelRepresentation = 0
        save(path, dataset)
    return stack.truth() if offset else Truth((), repaired=((stack.volume(),),))


add(
    "jpeg-2000-sign-lost",
    "JPEG 2000, signed numbers under a header that says unsigned",
    partial(sign_lost, offset=0.0),
    ("sign-of-stream",),
)
add(
    "jpeg-2000-sign-lost-positive",
    "JPEG 2000, signed numbers, none negative, under a header that says unsigned",
    partial(sign_lost, offset=3000.0),
    ("sign-of-stream",),
)


@kind("every slice in another transfer syntax")
def syntaxes_mixed(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    syntaxes = (None, RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1)
    for number, path in enumerate(write(folder, stack.datasets, rng)):
        syntax = syntaxes[number % 5]
        if syntax:
            compress(path, syntax)
    return stack.truth()


def reencapsulated(folder: Path, rng: Generator, *, fragments: int, offsets: bool) -> Truth:
    """The same frame in several fragments, with or without the basic offset table (PS3.5 A.4)."""
    stack = Stack(rng)
    for path in write(folder, stack.datasets, rng):
        compress(path, JPEG2000Lossless)
        dataset = dcmread(path)
        frames = list(generate_frames(dataset.PixelData, number_of_frames=1))
        dataset.PixelData = encapsulate(frames, fragments_per_frame=fragments, has_bot=offsets)
        save(path, dataset)
    return stack.truth()


add(
    "fragments",
    "JPEG 2000 in three fragments, with offsets",
    partial(reencapsulated, fragments=3, offsets=True),
)
add(
    "fragments-bare",
    "JPEG 2000 in three fragments, no offsets",
    partial(reencapsulated, fragments=3, offsets=False),
)


def spoiled(folder: Path, rng: Generator, *, syntax: str, number: int) -> Truth:
    """The compressed data of one slice is cut: a decoder may fill up what is missing."""
    stack = Stack(rng)
    for index, path in enumerate(write(folder, stack.datasets, rng)):
        compress(path, syntax)
        if index == number:
            dataset = dcmread(path)
            frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
            cut = frame[: len(frame) // 3 * 2]
            dataset.PixelData = encapsulate([cut])
            save(path, dataset)
    if number == 8:
        return Truth((), told=((stack.volume(0, 8),),))
    return Truth((), others=((stack.volume(0, number), stack.volume(number + 1)),))


for _name, _syntax in (
    ("rle", RLELossless),
    ("jpeg-ls", JPEGLSLossless),
    ("jpeg-2000", JPEG2000Lossless),
    ("jpeg-lossless", JPEGLosslessSV1),
):
    add(
        f"{_name}-cut", f"{_syntax.name}, the data of a slice cut", partial(spoiled, syntax=_syntax, number=4)
    )
add(
    "jpeg-2000-cut-last",
    "JPEG 2000, the data of the last slice cut",
    partial(spoiled, syntax=JPEG2000Lossless, number=8),
)


@kind("an RLE slice of a few bytes that claims 20000 x 20000 pixels")
def rle_bomb(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for index, path in enumerate(write(folder, stack.datasets, rng)):
        compress(path, RLELossless)
        if index == 4:
            dataset = dcmread(path)
            dataset.Rows = dataset.Columns = 20000
            save(path, dataset)
    return Truth((), others=((stack.volume(0, 4), stack.volume(5)),))


@kind("a JPEG 2000 picture of other size than its header says, in one slice")
def picture_other_size(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    paths = write(folder, stack.datasets, rng)
    for path in paths:
        compress(path, JPEG2000Lossless)
    dataset = dcmread(paths[4])
    turned = Stack(rng, replace(stack.grid, shape=(12, 14, 9)), identity=stack.identity, values=stack.values)
    save(paths[4], turned.datasets[4])
    compress(paths[4], JPEG2000Lossless)
    dataset.PixelData = dcmread(paths[4]).PixelData
    save(paths[4], dataset)
    return Truth((), others=((stack.volume(0, 4), stack.volume(5)),))
