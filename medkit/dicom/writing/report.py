"""Volumes as a Structured Report: TID 1500, Measurement Report (PS3.16), with a group for each segment (TID 1411)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from highdicom import sr
from pydicom import Dataset
from pydicom.sr.codedict import codes

from medkit.dicom.writing.codes import coded
from medkit.dicom.writing.finishing import finish, series_description
from medkit.dicom.writing.maker import MANUFACTURER
from medkit.dicom.writing.segmentation import tracking
from medkit.dicom.writing.uids import PENDING_UID, ResultUids, derived_uid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medkit.data.label_codes import LabelCodes
    from medkit.dicom.writing.maker import Maker
    from medkit.dicom.writing.source import Source

__all__ = ["MACHINE_MADE", "segment_volumes_ml", "volume_report"]

_SERIES = 91
_LONG_STRING = 64  # characters of a DICOM LO
_DECIMALS = 6  # a millionth of a millilitre: less than a voxel of a tenth of a millimetre
MACHINE_MADE = "Machine-made, for research; not for clinical use; not reviewed by a person."
_MILLILITRE = sr.CodedConcept("ml", "UCUM", "milliliter")
_COMMENT = sr.CodedConcept("121106", "DCM", "Comment")
_SIDES = {codes.SCT.Left.value, codes.SCT.Right.value, codes.SCT.Bilateral.value, codes.SCT.Unilateral.value}


def volume_report(
    source: Source, segmentation: Dataset, maker: Maker, notes: Sequence[str] = ()
) -> sr.EnhancedSR:
    """A report of the volume of each segment, which refers to the segmentation and to the source images.

    Args:
        source: the images.
        segmentation: of them, by the same maker; see :func:`medkit.dicom.writing.segmentation.make_segmentation`.
        maker: what made it.
        notes: remarks on the quality of images or result, for the reader of the report; each becomes a comment.

    Raises:
        UsageError: a label has no code.
    """
    volumes = segment_volumes_ml(source, segmentation)
    groups = [
        _group(source, segmentation, maker, value, number, volumes[number])
        for number, value in enumerate(sorted(maker.label_names), 1)
    ]
    content = sr.MeasurementReport(_observer(maker), codes.SCT.ImagingProcedure, groups)
    content[0].ContentSequence.extend(_comments([MACHINE_MADE, *notes]))
    report = sr.EnhancedSR(
        list(_evidence(source, segmentation)),
        content[0],
        series_instance_uid=PENDING_UID,
        series_number=source.series_number(_SERIES),
        sop_instance_uid=PENDING_UID,
        instance_number=1,
        is_complete=True,
        **maker.equipment(),
        series_description=series_description(maker, "volumes", source),
    )
    finish(report, source)
    ResultUids(source, maker, "report").identify(report)
    return report


def segment_volumes_ml(source: Source, segmentation: Dataset) -> dict[int, float]:
    """Segment number to millilitres, by the determinant of the affine and the voxels that the object itself holds.

    A probability counts for its share of a voxel.
    """
    voxel = abs(float(np.linalg.det(source.volume.affine[:3, :3]))) / 1000
    whole = int(segmentation.get("MaximumFractionalValue", 1))
    described = [int(item.SegmentNumber) for item in segmentation.SegmentSequence]
    sums = dict.fromkeys((number for number in described if number), 0)
    for numbers, frame in _frames(segmentation):
        if numbers is None:
            for number, count in zip(*np.unique(frame, return_counts=True), strict=True):
                if number in sums:
                    sums[int(number)] += int(count)
        else:
            sums[numbers] += int(frame.sum(dtype=np.int64))
    return {number: round(total / whole * voxel, _DECIMALS) for number, total in sums.items()}


def _frames(segmentation: Dataset) -> Iterator[tuple[int | None, np.ndarray]]:
    """Each frame with the number of its segment; ``None`` where the voxels themselves are numbers."""
    pixels = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    # Beside the object: what is decoded in it would be encoded again when it is written.
    elements = Dataset({element.tag: element for element in segmentation.elements()})
    shared = elements.SharedFunctionalGroupsSequence[0]
    for item, frame in zip(elements.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        if segmentation.SegmentationType == "LABELMAP":
            yield None, frame
        else:
            group = item if "SegmentIdentificationSequence" in item else shared
            yield int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber), frame


def _group(
    source: Source, segmentation: Dataset, maker: Maker, value: int, number: int, millilitres: float
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    known = maker.codes_of(value)
    name, uid = tracking(source, maker, value)
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=uid, identifier=f"{maker.label_names[value]} ({name})"),
        referenced_segment=sr.ReferencedSegment(
            str(segmentation.SOPClassUID),
            str(segmentation.SOPInstanceUID),
            number,
            source_series=sr.SourceSeriesForSegmentation(str(source.header.SeriesInstanceUID)),
        ),
        finding_category=coded(known.category),
        finding_type=coded(known.type),
        algorithm_id=sr.AlgorithmIdentification(
            maker.algorithm, maker.version, [f"digest {maker.digest}", f"settings {maker.settings_text}"]
        ),
        finding_sites=_sites(known),
        measurements=[sr.Measurement(codes.SCT.Volume, millilitres, _MILLILITRE)],
    )


def _sites(known: LabelCodes) -> list[sr.FindingSite]:
    """Where the structure is: the region of a lesion, and the structure itself where that is anatomy."""
    place, modifiers = (
        (known.type, known.modifiers) if known.region is None else (known.region, known.region_modifiers)
    )
    side = next((coded(modifier) for modifier in modifiers if modifier.value in _SIDES), None)
    other = next((coded(modifier) for modifier in modifiers if modifier.value not in _SIDES), None)
    return [sr.FindingSite(coded(place), laterality=side, topographical_modifier=other)]


def _observer(maker: Maker) -> sr.ObservationContext:
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", maker.identity),
        name=maker.algorithm,
        manufacturer_name=MANUFACTURER,
        model_name=f"{maker.algorithm[:40]} {maker.version[:20]}",
        serial_number=maker.digest[:_LONG_STRING],
    )
    context = sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    return sr.ObservationContext(observer_device_context=context)


def _comments(notes: Sequence[str]) -> list[sr.TextContentItem]:
    return [sr.TextContentItem(_COMMENT, note, sr.RelationshipTypeValues.CONTAINS) for note in notes if note]


def _evidence(source: Source, segmentation: Dataset) -> Iterator[Dataset]:
    """The segmentation and the source images, in the form in which highdicom takes evidence."""
    first = source.stand_in()
    first.SOPClassUID, first.SOPInstanceUID = segmentation.SOPClassUID, segmentation.SOPInstanceUID
    first.SeriesInstanceUID = segmentation.SeriesInstanceUID
    yield first
    series = [source.header[name] for name in ("StudyInstanceUID", "SeriesInstanceUID")]
    for instance, sop_class in source.instances.items():
        item = Dataset({element.tag: element for element in series})
        item.SOPClassUID = sop_class
        item.SOPInstanceUID = instance
        yield item
