"""Label maps, masks and probabilities as DICOM Segmentations (PS3.3, A.51)."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import highdicom
import numpy as np
from highdicom.color import CIELabColor
from highdicom.seg import SegmentDescription
from pydicom.sr.codedict import codes

from medkit.data.label_map import as_label_map
from medkit.data.palette import label_colours
from medkit.dicom.writing.codes import coded
from medkit.dicom.writing.finishing import finish, series_description
from medkit.dicom.writing.maker import MANUFACTURER
from medkit.dicom.writing.placing import as_frames, check_upright, on_grid
from medkit.dicom.writing.uids import PENDING_UID, ResultUids, derived_uid
from medkit.errors import CaseError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import Dataset

    from medkit.data.label_codes import LabelCodes
    from medkit.dicom.writing.maker import Maker
    from medkit.dicom.writing.source import Source

__all__ = ["SegmentationType", "encoded_segmentation", "make_segmentation", "tracking"]

_SERIES = 90
_SHOWN = 5  # values in a message
_LONG_STRING = 64  # characters of a DICOM LO
_SEGMENTS = np.iinfo(np.uint16).max


class SegmentationType(StrEnum):
    """How a segmentation holds its segments."""

    BINARY = "BINARY"
    """One bit a voxel and segment: what archives and viewers know."""
    LABELMAP = "LABELMAP"
    """One number a voxel, of the standard of 2024: small and quick, and refused by most archives yet."""
    FRACTIONAL = "FRACTIONAL"
    """Probabilities, in steps of 1/255."""


def make_segmentation(
    source: Source,
    labels: NDArray[Any],
    affine: NDArray[np.float64],
    maker: Maker,
    *,
    segmentation_type: SegmentationType = SegmentationType.BINARY,
    allow_sheared: bool = False,
) -> highdicom.seg.Segmentation:
    """A segmentation of a source volume, with a segment for each label of the maker, in the order of their values.

    Frames without a voxel of their segment are left out, unless there is none in any.

    Args:
        source: the images.
        labels: ``(I, J, K)`` label values, or ``(I, J, K, C)`` masks, whose channel is the label's value; for FRACTIONAL
            probabilities from 0 to 1 in such channels.
        affine: 4x4, voxel index of ``labels`` to RAS millimetres: the source's voxels, with axes in any order.
        maker: what made them.
        segmentation_type: see :class:`SegmentationType`.
        allow_sheared: write slices of a tilted gantry too; see :func:`medkit.dicom.writing.placing.check_upright`.

    Raises:
        CaseError: ``grids-differ``, ``source-sheared``, ``labels-not-integer``, ``label-unknown`` for a value that the
            maker has no name for, or ``probabilities-out-of-range``.
        UsageError: a label has no code, or the array's axes do not suit the type.
    """
    encoded = encoded_segmentation(
        source, labels, affine, maker, segmentation_type=segmentation_type, allow_sheared=allow_sheared
    )
    # What highdicom has looked up of it is out of date by now.
    return highdicom.seg.Segmentation.from_dataset(encoded, copy=False)


def encoded_segmentation(
    source: Source,
    labels: NDArray[Any],
    affine: NDArray[np.float64],
    maker: Maker,
    *,
    segmentation_type: SegmentationType,
    allow_sheared: bool,
) -> Dataset:
    """The object of :func:`make_segmentation` for who only writes it: none of highdicom's own methods work on it."""
    if not allow_sheared:
        check_upright(source.volume)
    values = sorted(maker.label_names)
    colours = label_colours(maker.label_names)
    placed = on_grid(labels, affine, source.volume)
    pixels = np.ascontiguousarray(_pixels(as_frames(placed), values, segmentation_type, source))
    dataset = highdicom.seg.Segmentation(
        source.stand_ins,
        pixels,
        segmentation_type.value,
        [
            _description(source, maker, value, number, colours[value])
            for number, value in enumerate(values, 1)
        ],
        series_instance_uid=PENDING_UID,
        series_number=source.series_number(_SERIES),
        sop_instance_uid=PENDING_UID,
        instance_number=1,
        **maker.equipment(),
        content_label="SEGMENTATION",
        content_description=f"Machine-made by {maker.bundle}, for research"[:_LONG_STRING],
        pixel_measures=source.pixel_measures(),
        plane_orientation=source.plane_orientation(),
        plane_positions=source.plane_positions(),
        omit_empty_frames=bool(pixels.any()),  # one frame at least has to be there
        series_description=series_description(maker, "segmentation", source),
    )
    finish(dataset, source)
    ResultUids(source, maker, f"segmentation-{segmentation_type.lower()}").identify(dataset)
    return dataset


def tracking(source: Source, maker: Maker, value: int) -> tuple[str, str]:
    """Name and UID by which a structure is the same one in every result of a maker about a source."""
    name = f"{maker.bundle}: label {value}"[:_LONG_STRING]
    what = json.dumps([value, maker.label_names[value], asdict(maker.codes_of(value))])
    return name, derived_uid("tracking", source.identity, maker.identity, what)


def _pixels(
    frames: NDArray[Any], values: list[int], segmentation_type: SegmentationType, source: Source
) -> NDArray[Any]:
    """``(K, rows, columns)`` segment numbers, or ``(K, rows, columns, segments)`` masks or probabilities."""
    if not 0 < len(values) < _SEGMENTS:
        raise UsageError(
            f"expected from 1 to {_SEGMENTS - 1} labels, got {len(values)}; name them in the metadata"
        )
    fractional = segmentation_type is SegmentationType.FRACTIONAL
    if frames.ndim == 3 and not fractional:
        return _segment_numbers(frames, values, source)
    if frames.ndim != 4 or frames.shape[3] <= values[-1]:
        wanted = (
            f"(I, J, K, C) of {values[-1] + 1} channels or more, background first and label {values[-1]} last"
        )
        wanted = wanted if fractional else f"(I, J, K), or {wanted}"
        raise UsageError(
            f"{segmentation_type}: expected an array {wanted}, got {frames.ndim} axes and channels {frames.shape[3:]}; "
            "give label values as BINARY, or one channel a label"
        )
    chosen = frames[..., values]
    if fractional:
        return _probabilities(chosen, source)
    if segmentation_type is SegmentationType.LABELMAP:
        return _flattened(chosen != 0)
    overlapping: NDArray[np.bool_] = chosen != 0
    return overlapping


def _segment_numbers(frames: NDArray[Any], values: list[int], source: Source) -> NDArray[Any]:
    where = source.volume.called
    try:
        whole = as_label_map(frames)
    except ValueError as error:
        raise CaseError(
            "labels-not-integer",
            f"{where}: expected labels as whole numbers from 0, got {error}; take an argmax",
        ) from error
    if whole.dtype.itemsize > 2:  # too many values for a table of all
        found, places = np.unique(whole, return_inverse=True)
    else:
        found, places = np.arange(np.iinfo(whole.dtype).max + 1), whole
    nobody = len(values) + 1
    table = np.full(len(found), nobody, np.min_scalar_type(nobody))
    table[found == 0] = 0
    for number, value in enumerate(values, 1):
        table[found == value] = number
    segments: NDArray[Any] = table[places].reshape(whole.shape)
    if (unknown := np.unique(whole[segments == nobody])).size:
        raise CaseError(
            "label-unknown",
            f"{where}: expected labels out of {values}, got {unknown[:_SHOWN].tolist()}; name the bundle that made "
            "them, or add the labels to its metadata",
        )
    return segments


def _flattened(masks: NDArray[np.bool_]) -> NDArray[Any]:
    if (masks.sum(axis=3) > 1).any():
        raise UsageError(
            "LABELMAP: expected labels that do not overlap, got some that do; write them as BINARY"
        )
    numbers = np.arange(1, masks.shape[3] + 1, dtype=np.min_scalar_type(masks.shape[3]))
    flat: NDArray[Any] = masks @ numbers
    return flat


def _probabilities(chosen: NDArray[Any], source: Source) -> NDArray[np.float32]:
    low, high = float(chosen.min()), float(chosen.max())
    if not (low >= 0 and high <= 1):  # NaN is neither
        raise CaseError(
            "probabilities-out-of-range",
            f"{source.volume.called}: expected probabilities from 0 to 1, got values from {low:.4g} "
            f"to {high:.4g}; apply a softmax or a sigmoid",
        )
    return chosen.astype(np.float32)


def _description(
    source: Source, maker: Maker, value: int, number: int, colour: tuple[float, float, float]
) -> SegmentDescription:
    known = maker.codes_of(value)
    name, uid = tracking(source, maker, value)
    description = SegmentDescription(
        segment_number=number,
        segment_label=maker.label_names[value][:_LONG_STRING],
        segmented_property_category=coded(known.category),
        segmented_property_type=coded(known.type),
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=maker.algorithm,
            family=codes.DCM.ArtificialIntelligence,
            version=maker.version,
            source=MANUFACTURER,
            parameters={"digest": maker.digest, "settings": maker.settings_text},
        ),
        tracking_uid=uid,
        tracking_id=name,
        anatomic_regions=None if known.region is None else [coded(known.region)],
        display_color=CIELabColor.from_rgb(*(round(255 * part) for part in colour)),
    )
    _add_modifiers(description, known)
    return description


def _add_modifiers(description: SegmentDescription, known: LabelCodes) -> None:
    """What highdicom has no argument for (PS3.3, tables 10-7 and C.8.20-4)."""
    if known.modifiers:
        (kind,) = description.SegmentedPropertyTypeCodeSequence
        kind.SegmentedPropertyTypeModifierCodeSequence = [coded(modifier) for modifier in known.modifiers]
    if known.region_modifiers:
        (region,) = description.AnatomicRegionSequence
        region.AnatomicRegionModifierSequence = [coded(modifier) for modifier in known.region_modifiers]
