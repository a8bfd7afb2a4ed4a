"""Enhanced multi-frame objects, whole and spoiled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from pydicom import dcmread
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    LegacyConvertedEnhancedCTImageStorage,
    RLELossless,
)

from tests.dicom_series.grids import grid
from tests.dicom_series.kinds import add, kind
from tests.dicom_series.multiframe import Frame, coding_of, enhanced, frames_of, grouped, item, write_enhanced
from tests.dicom_series.stacks import Coding, Identity, Stack, numbers, save, uid, write
from tests.dicom_series.syntaxes import compress
from tests.dicom_series.truth import REFUSAL, Truth

STEP = 61.0


def made(rng: Generator, modality: str = "MR", **options: Any) -> Stack:
    """A stack whose slices become frames."""
    return Stack(rng, grid(rng, **options), modality=modality, coding=coding_of(modality))


def plain(
    folder: Path,
    rng: Generator,
    *,
    modality: str = "MR",
    order: str = "",
    shared: bool = True,
    **options: Any,
) -> Truth:
    stack = made(rng, modality, **options)
    frames = frames_of(stack)
    if order == "shuffled":
        frames = [frames[number] for number in rng.permutation(len(frames))]
    elif order == "reversed":
        frames.reverse()
    write_enhanced(folder, rng, stack.identity, frames, modality, shared=shared)
    sheared = ((stack.regridded(),),) if "shear" in options else ()
    return Truth((stack.volume(),), repaired=sheared)


add("enhanced-ct", "enhanced CT", partial(plain, modality="CT"))
add("enhanced-mr", "enhanced MR", partial(plain))
add("enhanced-pet", "enhanced PET", partial(plain, modality="PT"))
add("enhanced-oblique", "enhanced, oblique", partial(plain, angles=(0.3, -0.2, 0.4)))
add(
    "enhanced-sagittal-down",
    "enhanced, sagittal, against the normal",
    partial(plain, plane="sagittal", down=True),
)
add("enhanced-shuffled", "enhanced, frames in an order by chance", partial(plain, order="shuffled"))
add("enhanced-reversed", "enhanced, frames from top to bottom", partial(plain, order="reversed"))
add("enhanced-per-frame", "enhanced, all groups in each frame", partial(plain, shared=False))
add("enhanced-one-frame", "enhanced, a single frame", partial(plain, shape=(14, 12, 1)))
add(
    "enhanced-tilted",
    "enhanced, sheared",
    partial(plain, modality="CT", angles=(0.25, 0, 0), shear=(0, float(np.tan(0.25)))),
    ("deshear",),
)


def of_slices(
    folder: Path, rng: Generator, *, codings: Sequence[Coding], modality: str = "MR", shared: bool = True
) -> Truth:
    stack = Stack(rng, modality=modality, codings=codings)
    write_enhanced(folder, rng, stack.identity, frames_of(stack), modality, shared=shared)
    return stack.truth()


_SLOPES = [Coding(0.3 + 0.1 * number, 2.0 * number, bits_stored=16) for number in range(9)]
add("enhanced-slope-per-frame", "another slope in each frame", partial(of_slices, codings=_SLOPES))
add(
    "enhanced-slope-per-frame-pet",
    "PET, another slope in each frame",
    partial(of_slices, codings=_SLOPES, modality="PT"),
)
add(
    "enhanced-signed",
    "enhanced CT, signed",
    partial(of_slices, codings=[Coding(intercept=0, bits_stored=16, signed=True)] * 9, modality="CT"),
)


def subset(folder: Path, rng: Generator, *, missing: int) -> Truth:
    stack = made(rng)
    frames = frames_of(stack)
    del frames[missing]
    write_enhanced(folder, rng, stack.identity, frames)
    slabs = (stack.volume(0, missing), stack.volume(missing + 1))
    return Truth((), others=(slabs,), repaired=((stack.regridded(),),))


add(
    "enhanced-frame-missing", "enhanced, a frame is missing inside", partial(subset, missing=4), ("resample",)
)


def shifted(folder: Path, rng: Generator, *, steps: tuple[float, ...]) -> Truth:
    place = grid(rng)
    positions = [place.origin + step * place.step for step in steps]
    stack = Stack(rng, place, positions=positions, modality="MR", coding=coding_of("MR"))
    write_enhanced(folder, rng, stack.identity, frames_of(stack))
    return Truth((), repaired=((stack.regridded(round(steps[-1]) + 1),),))


add(
    "enhanced-nonuniform",
    "enhanced, growing distances",
    partial(shifted, steps=(0, 1, 2.1, 3.3, 4.6, 6, 7.5, 9)),
    ("resample",),
)


@kind("a localizer frame in another plane", ("drop-localizer",))
def enhanced_localizer(folder: Path, rng: Generator) -> Truth:
    stack = made(rng, "CT")
    scout = Stack(
        rng,
        grid(rng, "coronal", shape=(14, 12, 1)),
        identity=stack.identity,
        offset=300.0,
        coding=coding_of("CT"),
    )
    scouts = frames_of(scout, stack="2", frame_type=("ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"))
    write_enhanced(folder, rng, stack.identity, [*scouts, *frames_of(stack)], "CT")
    return Truth((stack.volume(), replace(scout.volume(), required=False)))


def several(
    folder: Path,
    rng: Generator,
    *,
    group: str = "",
    values: Sequence[dict[str, Any]],
    pointer: tuple[str, str] = ("", ""),
    interleaved: bool = False,
    frame_types: Sequence[tuple[str, ...]] = (),
    content: bool = False,
) -> Truth:
    """Several volumes at one place in one object, told apart by a functional group, the frame content or its type."""
    place, identity = grid(rng, angles=(0.1, 0.05, -0.2)), Identity.new(rng)
    count = len(values) or len(frame_types)
    runs: list[list[Frame]] = []
    truths = []
    for one in range(count):
        stack = Stack(rng, place, modality="MR", coding=coding_of("MR"), identity=identity, offset=STEP * one)
        truths.append(stack.volume())
        frames = frames_of(stack)
        if frame_types:
            frames = [replace(frame, frame_type=frame_types[one]) for frame in frames]
        elif content:
            frames = [replace(frame, content=dict(values[one]), index=(one + 1,)) for frame in frames]
        else:
            frames = [grouped(frame, one + 1, **{group: values[one]}) for frame in frames]
        runs.append(frames)
    order = [frame for at_place in zip(*runs, strict=True) for frame in at_place]
    frames = order if interleaved else [frame for run in runs for frame in run]
    write_enhanced(folder, rng, identity, frames, pointers=[pointer] if pointer[0] else [])
    return Truth(tuple(truths))


_B = "MRDiffusionSequence"
_SEVERAL: dict[str, tuple[str, dict[str, Any]]] = {
    "enhanced-b-values": (
        "three b-values",
        {
            "group": _B,
            "pointer": ("DiffusionBValue", _B),
            "values": [
                {"DiffusionBValue": b, "DiffusionDirectionality": "ISOTROPIC"} for b in (0.0, 500.0, 1000.0)
            ],
        },
    ),
    "enhanced-echoes": (
        "two echo times",
        {
            "group": "MREchoSequence",
            "pointer": ("EffectiveEchoTime", "MREchoSequence"),
            "values": [{"EffectiveEchoTime": time} for time in (4.92, 7.38)],
        },
    ),
    "enhanced-temporal": (
        "three temporal positions",
        {
            "content": True,
            "pointer": ("TemporalPositionIndex", "FrameContentSequence"),
            "values": [{"TemporalPositionIndex": number} for number in (1, 2, 3)],
        },
    ),
    "enhanced-cardiac": (
        "two phases of the heart",
        {
            "group": "CardiacSynchronizationSequence",
            "pointer": ("NominalCardiacTriggerDelayTime", "CardiacSynchronizationSequence"),
            "values": [{"NominalCardiacTriggerDelayTime": time} for time in (0.0, 83.5)],
        },
    ),
    "enhanced-magnitude-and-phase": (
        "magnitude and phase by the frame type",
        {
            "values": (),
            "frame_types": (("ORIGINAL", "PRIMARY", "M_FFE", "M"), ("ORIGINAL", "PRIMARY", "P_FFE", "P")),
        },
    ),
}
for _name, (_about, _options) in _SEVERAL.items():
    add(_name, f"enhanced, {_about}, one after the other", partial(several, **_options))
    add(
        f"{_name}-interleaved",
        f"enhanced, {_about}, in turn at every place",
        partial(several, **_options, interleaved=True),
    )


@kind("two stacks of other angles in one object")
def enhanced_two_stacks(folder: Path, rng: Generator) -> Truth:
    one = made(rng)
    two = Stack(
        rng,
        grid(rng, angles=(0.5, 0, 0)),
        modality="MR",
        coding=coding_of("MR"),
        identity=one.identity,
        offset=STEP,
    )
    write_enhanced(folder, rng, one.identity, [*frames_of(one), *frames_of(two, stack="2")])
    return Truth((one.volume(), two.volume()))


@kind("two parallel stacks with a gap of half a step more, by StackID")
def enhanced_two_slabs(folder: Path, rng: Generator) -> Truth:
    place = grid(rng, shape=(14, 12, 5))
    one = Stack(rng, place, modality="MR", coding=coding_of("MR"))
    above = replace(place, origin=place.origin + 8.5 * place.step)
    two = Stack(rng, above, modality="MR", coding=coding_of("MR"), identity=one.identity, offset=STEP)
    write_enhanced(folder, rng, one.identity, [*frames_of(one), *frames_of(two, stack="2")])
    return Truth((one.volume(), two.volume()))


@kind("two frames at every place with nothing that tells them apart")
def enhanced_nothing_tells_apart(folder: Path, rng: Generator) -> Truth:
    one = made(rng)
    two = Stack(rng, one.grid, modality="MR", coding=coding_of("MR"), identity=one.identity, offset=STEP)
    write_enhanced(folder, rng, one.identity, [*frames_of(one), *frames_of(two)])
    return Truth((), others=((one.volume(), two.volume()),))


def lacking(folder: Path, rng: Generator, *, without: str, number: int | None = None) -> Truth:
    stack = made(rng)
    frames = frames_of(stack)
    for index, frame in enumerate(frames):
        if number in (None, index):
            frames[index] = replace(frame, without=(without,))
    write_enhanced(folder, rng, stack.identity, frames)
    if number is None:
        return REFUSAL
    return Truth((), others=((stack.volume(0, number), stack.volume(number + 1)),))


add("enhanced-position-absent", "enhanced, no positions", partial(lacking, without="PlanePositionSequence"))
add(
    "enhanced-orientation-absent",
    "enhanced, no orientation",
    partial(lacking, without="PlaneOrientationSequence"),
)
add("enhanced-measures-absent", "enhanced, no spacing", partial(lacking, without="PixelMeasuresSequence"))
add(
    "enhanced-position-absent-on-one",
    "enhanced, no position on one frame",
    partial(lacking, without="PlanePositionSequence", number=4),
)


@kind("NumberOfFrames is larger than the frames that are there")
def enhanced_frames_overstated(folder: Path, rng: Generator) -> Truth:
    stack = made(rng)
    dataset = enhanced(rng, stack.identity, frames_of(stack))
    dataset.NumberOfFrames = 11
    write(folder, [dataset], rng)
    return Truth((), told=((stack.volume(),),))


@kind("NumberOfFrames is smaller than the frames that are there")
def enhanced_frames_understated(folder: Path, rng: Generator) -> Truth:
    stack = made(rng)
    dataset = enhanced(rng, stack.identity, frames_of(stack))
    dataset.NumberOfFrames = 7
    write(folder, [dataset], rng)
    return Truth((), others=((stack.volume(),),), told=((stack.volume(0, 7),),))


@kind("the pixel data cut off in the last frame")
def enhanced_truncated(folder: Path, rng: Generator) -> Truth:
    stack = made(rng)
    dataset = enhanced(rng, stack.identity, frames_of(stack))
    (path,) = write(folder, [dataset], rng)
    path.write_bytes(path.read_bytes()[:-100])
    return Truth((), told=((stack.volume(0, 8),),))


def compressed(folder: Path, rng: Generator, *, syntax: str) -> Truth:
    stack = made(rng)
    frames = frames_of(stack)
    order = rng.permutation(9)
    dataset = enhanced(rng, stack.identity, [frames[number] for number in order])
    (path,) = write(folder, [dataset], rng)
    if syntax == DeflatedExplicitVRLittleEndian:
        dataset.file_meta.TransferSyntaxUID = syntax
        save(path, dataset)
    else:
        compress(path, syntax)
    return stack.truth()


for _name, _syntax in (
    ("rle", RLELossless),
    ("jpeg-2000", JPEG2000Lossless),
    ("jpeg-ls", JPEGLSLossless),
    ("deflated", DeflatedExplicitVRLittleEndian),
):
    add(f"enhanced-{_name}", f"enhanced, shuffled, {_syntax.name}", partial(compressed, syntax=_syntax))


@kind("one volume in three files: a concatenation")
def enhanced_concatenation(folder: Path, rng: Generator) -> Truth:
    stack = made(rng)
    frames, concatenation, datasets = frames_of(stack), uid(rng), []
    source = uid(rng)
    for number in range(3):
        dataset = enhanced(rng, stack.identity, frames[3 * number : 3 * number + 3])
        dataset.InstanceNumber = 1
        dataset.ConcatenationUID, dataset.SOPInstanceUIDOfConcatenationSource = concatenation, source
        dataset.InConcatenationNumber, dataset.InConcatenationTotalNumber = number + 1, 3
        dataset.ConcatenationFrameOffsetNumber = 3 * number
        datasets.append(dataset)
    write(folder, datasets, rng)
    parts = tuple(stack.volume(first, 3) for first in (0, 3, 6))
    return Truth((stack.volume(),), others=(parts,))


@kind("one part of a concatenation is missing")
def enhanced_concatenation_missing(folder: Path, rng: Generator) -> Truth:
    truth = enhanced_concatenation(folder, rng)
    for path in sorted(folder.iterdir()):
        if dcmread(path).InConcatenationNumber == 3:
            path.unlink()
    whole = truth.volumes[0]
    six = replace(whole, shape=(*whole.shape[:2], 6))
    return Truth((), told=((six,), truth.others[0][:2]))


@kind("two enhanced objects in one series, a volume each")
def enhanced_two_objects(folder: Path, rng: Generator) -> Truth:
    one = made(rng)
    two = Stack(rng, one.grid, modality="MR", coding=coding_of("MR"), identity=one.identity, offset=STEP)
    datasets = [enhanced(rng, one.identity, frames_of(stack)) for stack in (one, two)]
    datasets[1].InstanceNumber = 2
    write(folder, datasets, rng)
    return Truth((one.volume(), two.volume()))


@kind("legacy converted enhanced CT, attributes of the old slices beside the groups")
def legacy_converted(folder: Path, rng: Generator) -> Truth:
    stack = made(rng, "CT")
    frames = [
        grouped(
            frame,
            UnassignedPerFrameConvertedAttributesSequence={"SliceLocation": numbers([frame.place])[0]},
            ConversionSourceAttributesSequence={
                "ReferencedSOPClassUID": old.SOPClassUID,
                "ReferencedSOPInstanceUID": old.SOPInstanceUID,
            },
        )
        for frame, old in zip(frames_of(stack), stack.datasets, strict=True)
    ]
    frames = [frames[number] for number in rng.permutation(9)]
    dataset = enhanced(rng, stack.identity, frames, "CT")
    dataset.SOPClassUID = LegacyConvertedEnhancedCTImageStorage
    unassigned = item(TableHeight="120")
    dataset.SharedFunctionalGroupsSequence[0].UnassignedSharedConvertedAttributesSequence = Items(
        [unassigned]
    )
    write(folder, [dataset], rng)
    return stack.truth()


@kind("position and spacing at the top of the file lie; the groups are what counts")
def enhanced_top_level_lies(folder: Path, rng: Generator) -> Truth:
    stack = made(rng)
    dataset = enhanced(rng, stack.identity, frames_of(stack))
    dataset.ImagePositionPatient = ["0", "0", "0"]
    dataset.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]
    dataset.PixelSpacing, dataset.SliceThickness = ["1", "1"], "1"
    write(folder, [dataset], rng)
    return stack.truth()


@kind("a slope at the top of the file that contradicts the groups")
def enhanced_top_level_slope(folder: Path, rng: Generator) -> Truth:
    stack = made(rng)
    dataset = enhanced(rng, stack.identity, frames_of(stack))
    dataset.RescaleSlope, dataset.RescaleIntercept = "3", "17"
    write(folder, [dataset], rng)
    return Truth((), others=((stack.volume(),),))


@kind("one frame has another PixelSpacing")
def enhanced_spacing_mixed(folder: Path, rng: Generator) -> Truth:
    stack = made(rng)
    finer = Stack(
        rng,
        replace(stack.grid, spacing=(0.5, 0.55)),
        modality="MR",
        coding=coding_of("MR"),
        identity=stack.identity,
        values=stack.values,
    )
    frames = frames_of(stack)
    frames[4] = frames_of(finer)[4]
    write_enhanced(folder, rng, stack.identity, frames)
    alone = replace(finer.volume(4, 1), required=False)
    return Truth((), others=((stack.volume(0, 4), stack.volume(5), alone),))


@kind("enhanced, two places for one of its frames")
def enhanced_position_twice(folder: Path, rng: Generator) -> Truth:
    stack = made(rng)
    dataset = enhanced(rng, stack.identity, frames_of(stack))
    places = dataset.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence
    places.append(item(ImagePositionPatient=numbers(stack.positions[4])))
    write(folder, [dataset], rng)
    return Truth((), others=((stack.volume(),),))
