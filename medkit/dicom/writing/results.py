"""All objects of one result, written into a folder."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from medkit.data.writing import make_folder
from medkit.dicom.findings import Repair
from medkit.dicom.writing.picture import draw_picture
from medkit.dicom.writing.report import volume_report
from medkit.dicom.writing.saving import check_free, save
from medkit.dicom.writing.segmentation import SegmentationType, encoded_segmentation
from medkit.dicom.writing.source import open_source
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from pydicom import Dataset

    from medkit.dicom.confidentiality import Deidentifier
    from medkit.dicom.findings import Finding
    from medkit.dicom.result import SeriesVolume
    from medkit.dicom.writing.maker import Maker

__all__ = ["ResultKind", "write_results"]


_MEANINGS = {repair.value: repair.meaning for repair in Repair}


class ResultKind(StrEnum):
    """Kinds of objects that a label map becomes."""

    SEGMENTATION = "seg"
    REPORT = "sr"
    PICTURE = "sc"


def write_results(
    volume: SeriesVolume,
    labels: NDArray[Any],
    affine: NDArray[np.float64],
    maker: Maker,
    folder: Path,
    *,
    kinds: Collection[ResultKind] = tuple(ResultKind),
    segmentation_type: SegmentationType = SegmentationType.BINARY,
    notes: Sequence[str] = (),
    allow_sheared: bool = False,
    edition: int = 0,
    deidentifier: Deidentifier | None = None,
) -> dict[ResultKind, Path]:
    """Write a label map of a volume as DICOM objects: segmentation, report of volumes, picture.

    All are made before the first is written. Files are called by the volume and the kind, such as ``003.seg.dcm``, and
    never take the place of other results.

    Args:
        volume: the source.
        labels: see :func:`medkit.dicom.writing.segmentation.make_segmentation`.
        affine: 4x4, voxel index of ``labels`` to RAS millimetres.
        maker: what made them.
        folder: for the files.
        kinds: which objects; a report brings the segmentation that it refers to.
        segmentation_type: of the segmentation.
        notes: for the report, besides those of the volume. They are written as they are.
        allow_sheared: write slices of a tilted gantry too.
        edition: see :func:`medkit.dicom.writing.source.open_source`.
        deidentifier: see there. Of the volume's own notes, which quote headers, the report then has the codes.

    Returns:
        Kind to file.

    Raises:
        CaseError: the source cannot be written about, or the labels are not on its grid.
        UsageError: a label has no code, a picture of probabilities is asked for, or the folder cannot be written or
            holds other results under these names.
    """
    if ResultKind.PICTURE in kinds and segmentation_type is SegmentationType.FRACTIONAL:
        raise UsageError(
            "FRACTIONAL: expected the kinds seg and sr, got sc as well, which is drawn of a label map; ask for "
            "--kind seg --kind sr"
        )
    source = open_source(volume, edition, deidentifier)
    made: dict[ResultKind, Dataset] = {}
    if {ResultKind.SEGMENTATION, ResultKind.REPORT} & {*kinds}:
        segments = encoded_segmentation(
            source, labels, affine, maker, segmentation_type=segmentation_type, allow_sheared=allow_sheared
        )
        made[ResultKind.SEGMENTATION] = segments
        if ResultKind.REPORT in kinds:
            # Of repairs the meaning: their messages may name files, and these a patient.
            said = [note.message for note in volume.notes] if deidentifier is None else _codes(volume.notes)
            said += [f"On request: {_MEANINGS[done.code]}" for done in volume.repairs]
            made[ResultKind.REPORT] = volume_report(source, segments, maker, [*said, *notes])
    if ResultKind.PICTURE in kinds:
        made[ResultKind.PICTURE] = draw_picture(source, labels, affine, maker)
    paths = {kind: folder / f"{volume.name}.{kind}.dcm" for kind in made}
    for kind, dataset in made.items():
        check_free(paths[kind], dataset)
    make_folder(folder)
    for kind, dataset in made.items():
        save(dataset, paths[kind])
    return paths


def _codes(notes: Sequence[Finding]) -> list[str]:
    """In one line which remarks the reader has, without what they say."""
    codes = ", ".join(sorted({note.code for note in notes}))
    return [f"The reader has remarks on the series (see docs/dicom.md of medkit): {codes}"] if codes else []
