"""A picture of the labels over their image, as a Secondary Capture, for viewers that show no segmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from highdicom.sc import SCImage

from medkit.data.grid import Grid
from medkit.data.volume import Volume
from medkit.dicom.writing.finishing import finish, series_description
from medkit.dicom.writing.placing import on_grid
from medkit.dicom.writing.uids import PENDING_UID, ResultUids
from medkit.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medkit.dicom.writing.maker import Maker
    from medkit.dicom.writing.source import Source

__all__ = ["draw_picture"]

_SERIES = 92


def draw_picture(source: Source, labels: NDArray[Any], affine: NDArray[np.float64], maker: Maker) -> SCImage:
    """Three planes with the contours and volumes of the labels (see :func:`medkit.figures.overlay.draw_overlay`).

    Its first words, in the pixels, are "RESEARCH, machine-made"; nothing in it names the patient.
    Remarks, which may quote headers, are left to the report.

    Args:
        source: the images.
        labels: ``(I, J, K)`` label values.
        affine: 4x4, voxel index of ``labels`` to RAS millimetres: the source's voxels, with axes in any order.
        maker: what made them.

    Raises:
        CaseError: ``grids-differ``.
        UsageError: masks instead of label values.
    """
    if labels.ndim != 3:
        raise UsageError(
            f"expected label values (I, J, K) for a picture, got {labels.ndim} axes; leave it out"
        )
    pixels = _drawn(source, on_grid(labels, affine, source.volume), maker)
    image = SCImage(
        pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),  # has to be given; taken out below
        study_instance_uid=str(source.header.StudyInstanceUID),
        series_instance_uid=PENDING_UID,
        series_number=source.series_number(_SERIES),
        sop_instance_uid=PENDING_UID,
        instance_number=1,
        **maker.equipment(),
        series_description=series_description(maker, "picture", source),
    )
    image["PatientOrientation"].value = ""  # three planes, each with letters of its own
    image.BurnedInAnnotation = "YES"
    image.DerivationDescription = "Label contours over planes of the source images"
    image.SourceImageSequence = list(source.references())
    finish(image, source)
    ResultUids(source, maker, "picture").identify(image)
    return image


def _drawn(source: Source, labels: NDArray[Any], maker: Maker) -> NDArray[np.uint8]:
    """``(rows, columns, 3)``."""
    from medkit.figures.overlay import overlay_pixels

    shape = source.volume.array.shape
    grid = Grid((shape[0], shape[1], shape[2]), source.volume.affine)
    voxel = grid.voxel_volume_ml or 0.0
    values, counts = np.unique(labels, return_counts=True)
    counted = dict(zip(values.tolist(), counts.tolist(), strict=True))
    return overlay_pixels(
        Volume(source.volume.array, grid),
        labels,
        maker.label_names,
        title=f"RESEARCH, machine-made: {maker.bundle} {maker.version}",
        volumes_ml={value: counted.get(value, 0) * voxel for value in maker.label_names},
    )
