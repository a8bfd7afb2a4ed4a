"""Enhanced multi-frame objects: one file, functional groups a frame (PS3.3 C.7.6.16)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import EnhancedCTImageStorage, EnhancedMRImageStorage, EnhancedPETImageStorage

from tests.dicom_series.grids import Grid, Vector
from tests.dicom_series.stacks import (
    CODINGS,
    Coding,
    Identity,
    Stack,
    describe,
    header,
    numbers,
    uid,
    write,
)

ENHANCED = {"CT": EnhancedCTImageStorage, "MR": EnhancedMRImageStorage, "PT": EnhancedPETImageStorage}
FRAME_TYPES = {
    "CT": "CTImageFrameTypeSequence",
    "MR": "MRImageFrameTypeSequence",
    "PT": "PETFrameTypeSequence",
}


@dataclass
class Frame:
    """One frame before it is written.

    Attributes:
        grid: of its plane.
        position: of its first pixel, LPS.
        stored: (rows, columns).
        coding: how values are stored.
        stack: StackID.
        place: InStackPositionNumber.
        frame_type: of the modality's frame type.
        content: further attributes of the frame content.
        groups: further functional groups, by the keyword of their sequence.
        index: further dimension index values.
        without: groups that the frame lacks.
    """

    grid: Grid
    position: Vector
    stored: np.ndarray
    coding: Coding
    stack: str = "1"
    place: int = 1
    frame_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "VOLUME", "NONE")
    content: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    index: tuple[int, ...] = ()
    without: tuple[str, ...] = ()


def frames_of(source: Stack, **options: Any) -> list[Frame]:
    """The slices of a stack as frames."""
    frames = []
    for number, (position, coding) in enumerate(zip(source.positions, source.codings, strict=True)):
        stored = coding.stored(source.values(source.grid.points(position)))
        frames.append(Frame(source.grid, position, stored, coding, place=number + 1, **options))
    return frames


def grouped(frame: Frame, index: int | None = None, **groups: dict[str, Any]) -> Frame:
    """The frame with more functional groups, and a dimension index value for them."""
    further = () if index is None else (index,)
    return replace(frame, groups={**frame.groups, **groups}, index=(*frame.index, *further))


def item(**values: Any) -> Dataset:
    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def enhanced(
    rng: Generator,
    identity: Identity,
    frames: Sequence[Frame],
    modality: str = "MR",
    *,
    pointers: Sequence[tuple[str, str]] = (),
    shared: bool = True,
) -> Dataset:
    """One enhanced object.

    Args:
        rng: of UIDs.
        identity: whose.
        frames: in the order of the file.
        modality: CT, MR or PT.
        pointers: of the further dimensions, attribute and sequence by keyword.
        shared: measures, orientation and rescaling stand once where all frames agree.
    """
    dataset = header(rng, identity, modality)
    dataset.SOPClassUID = ENHANCED[modality]
    dataset.InstanceNumber = 1
    dataset.AcquisitionContextSequence = Items([])
    coding = frames[0].coding
    describe(dataset, replace(coding, rescaled=False), np.stack([frame.stored for frame in frames]))
    dataset.NumberOfFrames = len(frames)
    dataset.VolumetricProperties, dataset.PixelPresentation = "VOLUME", "MONOCHROME"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    _dimensions(dataset, rng, pointers)
    per_frame = [_groups(frame, modality) for frame in frames]
    common = {}
    for name in list(per_frame[0]) if shared else []:
        first = per_frame[0][name]
        if name != "FrameContentSequence" and all(groups.get(name) == first for groups in per_frame):
            common[name] = first
            for groups in per_frame:
                del groups[name]
    dataset.SharedFunctionalGroupsSequence = Items([_as_item(common)])
    dataset.PerFrameFunctionalGroupsSequence = Items([_as_item(groups) for groups in per_frame])
    return dataset


def _dimensions(dataset: Dataset, rng: Generator, pointers: Sequence[tuple[str, str]]) -> None:
    organization = uid(rng)
    dataset.DimensionOrganizationSequence = Items([item(DimensionOrganizationUID=organization)])
    own = (("StackID", "FrameContentSequence"), ("InStackPositionNumber", "FrameContentSequence"))
    dataset.DimensionIndexSequence = Items(
        [
            item(
                DimensionOrganizationUID=organization,
                DimensionIndexPointer=tag_for_keyword(name),
                FunctionalGroupPointer=tag_for_keyword(group),
            )
            for name, group in (*own, *pointers)
        ]
    )


def _groups(frame: Frame, modality: str) -> dict[str, Dataset]:
    grid = frame.grid
    groups = {
        "FrameContentSequence": item(
            StackID=frame.stack,
            InStackPositionNumber=frame.place,
            DimensionIndexValues=[int(frame.stack), frame.place, *frame.index],
            FrameAcquisitionNumber=1,
            **frame.content,
        ),
        "PixelMeasuresSequence": item(
            PixelSpacing=numbers(grid.spacing), SliceThickness=numbers([grid.thickness])[0]
        ),
        "PlaneOrientationSequence": item(ImageOrientationPatient=numbers([*grid.row, *grid.column])),
        "PlanePositionSequence": item(ImagePositionPatient=numbers(frame.position)),
        FRAME_TYPES[modality]: item(
            FrameType=list(frame.frame_type), PixelPresentation="MONOCHROME", VolumetricProperties="VOLUME"
        ),
    }
    if frame.coding.rescaled:
        slope, intercept = numbers([frame.coding.slope, frame.coding.intercept])
        kind = "HU" if modality == "CT" else "US"
        groups["PixelValueTransformationSequence"] = item(
            RescaleSlope=slope, RescaleIntercept=intercept, RescaleType=kind
        )
    for name, values in frame.groups.items():
        groups[name] = item(**values)
    return {name: group for name, group in groups.items() if name not in frame.without}


def _as_item(groups: dict[str, Dataset]) -> Dataset:
    return item(**{name: Items([group]) for name, group in groups.items()})


def write_enhanced(
    folder: Path,
    rng: Generator,
    identity: Identity,
    frames: Sequence[Frame],
    modality: str = "MR",
    **options: Any,
) -> Dataset:
    dataset = enhanced(rng, identity, frames, modality, **options)
    write(folder, [dataset], rng)
    return dataset


def coding_of(modality: str) -> Coding:
    """An enhanced object always says how it is rescaled."""
    return replace(CODINGS[modality], rescaled=True)
