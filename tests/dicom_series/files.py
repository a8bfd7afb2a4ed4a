"""Files: broken, foreign, oddly named, oddly encoded, and what lies beside them."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.random import Generator
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite, write_file_meta_info
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    BasicTextSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    RTStructureSetStorage,
)

from tests.dicom_series.kinds import add, kind
from tests.dicom_series.stacks import Stack, header, save, uid, write
from tests.dicom_series.truth import REFUSAL, Truth


def encoded(folder: Path, rng: Generator, *, syntax: str) -> Truth:
    stack = Stack(rng)
    for number, dataset in enumerate(stack.datasets):
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        path = folder / f"IM{(5 * number + 2) % 9:04}.dcm"
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dcmwrite(path, dataset, enforce_file_format=True)
    return stack.truth()


add("implicit-vr", "implicit VR, little endian", partial(encoded, syntax=ImplicitVRLittleEndian))
add("big-endian", "explicit VR, big endian", partial(encoded, syntax=ExplicitVRBigEndian))
add("deflated", "deflated explicit VR", partial(encoded, syntax=DeflatedExplicitVRLittleEndian))


def bare(folder: Path, rng: Generator, *, implicit: bool) -> Truth:
    """The data set alone, as old stores wrote it: no preamble, no file meta information."""
    stack = Stack(rng)
    for number, dataset in enumerate(stack.datasets):
        alone = Dataset(dataset)
        with (folder / f"IM{(5 * number + 2) % 9:04}").open("wb") as file:
            dcmwrite(file, alone, implicit_vr=implicit, little_endian=True)
    return stack.truth()


add("no-preamble-implicit", "no preamble and no meta information, implicit VR", partial(bare, implicit=True))
add("no-preamble-explicit", "no preamble and no meta information, explicit VR", partial(bare, implicit=False))


def changed(folder: Path, rng: Generator, *, change: Callable[[bytes], bytes]) -> Truth:
    """All files whole, their bytes changed in a way that alters no value."""
    stack = Stack(rng)
    for path in write(folder, stack.datasets, rng):
        path.write_bytes(change(path.read_bytes()))
    return stack.truth()


def _executable(data: bytes) -> bytes:
    return b"MZ" + bytes(range(1, 127)) + data[128:]


add("preamble-mz", "a preamble that begins as a program", partial(changed, change=_executable))
add(
    "preamble-absent",
    "meta information without the preamble's 128 bytes",
    partial(changed, change=lambda d: d[128:]),
)


def broken(folder: Path, rng: Generator, *, number: int, change: Callable[[bytes], bytes]) -> Truth:
    """One file is broken: its slice is lost, those beside it are not."""
    stack = Stack(rng)
    path = write(folder, stack.datasets, rng)[number]
    path.write_bytes(change(path.read_bytes()))
    if number == 8:
        return Truth((), told=((stack.volume(0, 8),),))
    return Truth((), others=((stack.volume(0, number), stack.volume(number + 1)),))


for _name, _number in (("", 4), ("-last", 8)):
    _which = "the last slice" if _number == 8 else "a slice"
    add(
        f"truncated-pixels{_name}",
        f"the pixel data of {_which} cut off",
        partial(broken, number=_number, change=lambda data: data[:-100]),
    )
    add(
        f"truncated-header{_name}",
        f"the header of {_which} cut off",
        partial(broken, number=_number, change=lambda data: data[:500]),
    )
    add(
        f"zero-bytes{_name}",
        f"{_which} is a file of no bytes",
        partial(broken, number=_number, change=lambda data: b""),
    )
    add(
        f"zeroed{_name}",
        f"{_which} is a file of zeros, as a full disk leaves it",
        partial(broken, number=_number, change=lambda data: bytes(len(data))),
    )


@kind("the pixel data of all slices cut off")
def truncated_all(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for path in write(folder, stack.datasets, rng):
        path.write_bytes(path.read_bytes()[:-150])
    return REFUSAL


@kind("one slice without PixelData")
def pixels_absent_on_one(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    del stack.datasets[4].PixelData
    stack.write(folder)
    return Truth((), others=((stack.volume(0, 4), stack.volume(5)),))


def longer(folder: Path, rng: Generator, *, extra: int) -> Truth:
    """PixelData says, and has, more bytes than rows and columns ask for."""
    stack = Stack(rng)
    for dataset in stack.datasets:
        dataset.PixelData = dataset.PixelData + bytes(rng.integers(0, 255, extra, dtype=np.uint8))
    stack.write(folder)
    return Truth((), others=((stack.volume(),),))


add("pixels-longer", "ten bytes more of PixelData than pixels", partial(longer, extra=10))
add("pixels-doubled", "PixelData of two pictures under the header of one", partial(longer, extra=12 * 14 * 2))


@kind("NumberOfFrames is 1 in a series of single slices")
def one_frame_said(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for dataset in stack.datasets:
        dataset.NumberOfFrames = 1
    stack.write(folder)
    return stack.truth()


@kind("DataSetTrailingPadding behind the pixels")
def trailing_padding(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for dataset in stack.datasets:
        dataset.add_new(0xFFFCFFFC, "OB", bytes(64))
    stack.write(folder)
    return stack.truth()


def beside(folder: Path, rng: Generator, *, name: str, data: bytes, doubtful: bool = False) -> Truth:
    """A file that is no slice; ``doubtful`` where it may have been one, and nobody can tell."""
    stack = Stack(rng)
    stack.write(folder)
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return Truth((), others=((stack.volume(),),)) if doubtful else stack.truth()


for _name, _about, _file, _data in (
    ("junk-text", "a text file beside the slices", "readme.txt", b"not DICOM\n" * 40),
    ("junk-dcm", "a file of noise called .dcm beside the slices", "ZZ.dcm", bytes(range(256)) * 9),
    ("junk-zero", "an empty file called .dcm beside the slices", "AA.dcm", b""),
    (
        "junk-hidden",
        "a hidden file of a desktop beside the slices",
        ".DS_Store",
        b"\0\0\0\1Bud1" + bytes(200),
    ),
    ("junk-fork", "a resource fork of a slice beside the slices", "._IM0000.dcm", b"\0\5\26\7" + bytes(200)),
    ("junk-magic", "DICM and nothing behind it beside the slices", "BB.dcm", bytes(128) + b"DICM"),
):
    _doubtful = _name in ("junk-dcm", "junk-zero", "junk-magic")
    add(_name, _about, partial(beside, name=_file, data=_data, doubtful=_doubtful))


def objects_beside(folder: Path, rng: Generator, *, storage: str, modality: str, same: bool) -> Truth:
    """An object that is no picture, in the study or even in the series."""
    stack = Stack(rng)
    identity = stack.identity if same else stack.identity.another_series(rng)
    other = header(rng, identity, modality)
    other.SOPClassUID = storage
    other.InstanceNumber = 50
    write(folder, [*stack.datasets, other], rng)
    return stack.truth()


for _name, _about, _storage, _modality, _same in (
    ("report-beside", "a structured report beside", BasicTextSRStorage, "SR", False),
    ("report-inside", "a structured report in the series itself", BasicTextSRStorage, "CT", True),
    ("structures-beside", "an RT structure set beside", RTStructureSetStorage, "RTSTRUCT", False),
    (
        "presentation-beside",
        "a presentation state beside",
        GrayscaleSoftcopyPresentationStateStorage,
        "PR",
        False,
    ),
):
    add(_name, _about, partial(objects_beside, storage=_storage, modality=_modality, same=_same))


@kind("a DICOMDIR beside the slices")
def dicomdir(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    stack.write(folder)
    index = Dataset()
    index.file_meta = stack.datasets[0].file_meta.copy()
    index.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    index.file_meta.MediaStorageSOPInstanceUID = uid(rng)
    index.FileSetID = "GENERATED"
    index.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 0
    index.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity = 0
    index.FileSetConsistencyFlag = 0
    index.DirectoryRecordSequence = Items([])
    index.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return stack.truth()


def named(folder: Path, rng: Generator, *, name: Callable[[int], str]) -> Truth:
    stack = Stack(rng)
    for number, dataset in enumerate(stack.datasets):
        path = folder / name(int((5 * number + 2) % 9))
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, dataset)
    return stack.truth()


add("names-bare", "files without an ending", partial(named, name=lambda n: f"I{n}"))
add("names-of-uids", "names of digits and dots", partial(named, name=lambda n: f"1.2.840.{n}.{7 * n}"))
add(
    "names-other-endings",
    "endings .IMA, .ima and .DCM",
    partial(named, name=lambda n: f"S{n}" + (".IMA", ".ima", ".DCM")[n % 3]),
)
add(
    "names-foreign",
    "names with spaces, accents and a quote",
    partial(named, name=lambda n: f"Größe {n} – d'œil.dcm"),
)
add(
    "folders-nested",
    "every slice in a folder of its own, as on a disc",
    partial(named, name=lambda n: f"DIR{n // 3}/S{n % 3}/I0.dcm"),
)


@kind("a picture of its own inside: an icon before the pixels")
def icon(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for dataset in stack.datasets:
        item = Dataset()
        item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
        item.Rows, item.Columns = 8, 8
        item.BitsAllocated = item.BitsStored = 8
        item.HighBit, item.PixelRepresentation = 7, 0
        item.PixelData = bytes(rng.integers(0, 255, 64, dtype=np.uint8))
        item["PixelData"].VR = "OB"
        dataset.IconImageSequence = Items([item])
    stack.write(folder)
    return stack.truth()


@kind("private attributes of 40 kB and nested sequences of undefined length before the pixels")
def private_blobs(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for dataset in stack.datasets:
        block = dataset.private_block(0x0029, "MADE UP", create=True)
        block.add_new(0x10, "OB", bytes(rng.integers(0, 255, 40_000, dtype=np.uint8)))
        inner, outer = Dataset(), Dataset()
        inner.ReferencedSOPClassUID, inner.ReferencedSOPInstanceUID = dataset.SOPClassUID, uid(rng)
        outer.ReferencedImageSequence = Items([inner])
        outer["ReferencedImageSequence"].is_undefined_length = True
        outer.Rows, outer.Columns = 3, 3
        block.add_new(0x20, "SQ", Items([outer]))
        dataset.ReferencedStudySequence = Items([inner])
        dataset["ReferencedStudySequence"].is_undefined_length = True
    stack.write(folder)
    return stack.truth()


@kind("position, orientation and spacing with VR UN, as some gateways leave them")
def place_as_unknown(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for dataset in stack.datasets:
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            element = dataset[name]
            text = "\\".join(f"{float(value):.6f}" for value in element.value).encode()
            dataset[element.tag] = DataElement(element.tag, "UN", text + b" " * (len(text) % 2))
    stack.write(folder)
    return stack.truth()


@kind("patient's name in Japanese, in UTF-8 and with escapes by turns")
def character_sets(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for number, dataset in enumerate(stack.datasets):
        dataset.SpecificCharacterSet = "ISO_IR 192" if number % 2 else ["", "ISO 2022 IR 87"]
        dataset.PatientName = "Yamada^Tarou=山田^太郎"
    stack.write(folder)
    return stack.truth()


@kind("meta information without a transfer syntax")
def transfer_syntax_absent(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for path, dataset in zip(write(folder, stack.datasets, rng), stack.datasets, strict=True):
        del dataset.file_meta.TransferSyntaxUID
        buffer = io.BytesIO()
        dcmwrite(buffer, Dataset(dataset), implicit_vr=False, little_endian=True)
        meta = io.BytesIO()
        write_file_meta_info(meta, dataset.file_meta, enforce_standard=False)
        path.write_bytes(bytes(128) + b"DICM" + meta.getvalue() + buffer.getvalue())
    # Explicit VR can be told from the bytes; to refuse is as right.
    return Truth((), others=((stack.volume(),),))


@kind("meta information says implicit VR, the data set is explicit")
def transfer_syntax_lies(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    for path in write(folder, stack.datasets, rng):
        said, lie = (str(syntax).encode() for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian))
        data = path.read_bytes()
        padded_said, padded_lie = (
            said + b"\0" * (len(said) % 2),
            lie + b"\0" * (len(said) + len(said) % 2 - len(lie)),
        )
        if data.count(padded_said) != 1:
            raise ValueError(f"{path} does not name its transfer syntax once")
        path.write_bytes(data.replace(padded_said, padded_lie))
    return Truth((), others=((stack.volume(),),))


@kind("a slice that claims 60000 x 60000 pixels and has a few bytes of them")
def claims_too_much(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    stack.datasets[4].Rows = stack.datasets[4].Columns = 60000
    stack.write(folder)
    return Truth((), others=((stack.volume(0, 4), stack.volume(5)),))


@kind("a slice of no rows")
def no_rows(folder: Path, rng: Generator) -> Truth:
    stack = Stack(rng)
    stack.datasets[4].Rows = 0
    stack.write(folder)
    return Truth((), others=((stack.volume(0, 4), stack.volume(5)),))
