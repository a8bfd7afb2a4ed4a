"""Images that a network made, such as synthesised or super-resolved ones, as a series of MR or CT images."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from highdicom import SOPClass
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import DS

from medkit.data.grid import flip_lps_ras
from medkit.dicom.writing.burned_text import burn
from medkit.dicom.writing.finishing import finish, series_description
from medkit.dicom.writing.placing import as_frames
from medkit.dicom.writing.uids import PENDING_UID, ResultUids
from medkit.errors import CaseError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medkit.dicom.writing.maker import Maker
    from medkit.dicom.writing.source import Source

__all__ = ["DerivedModality", "make_derived_images"]

_SERIES = 94
_WINDOW_PERCENTILES = (0.5, 99.5)
_STEPS = np.iinfo(np.uint16).max


class DerivedModality(StrEnum):
    """What the images claim to look like."""

    MR = "MR"
    CT = "CT"


def make_derived_images(
    source: Source,
    array: NDArray[Any],
    affine: NDArray[np.float64],
    maker: Maker,
    *,
    modality: DerivedModality,
    what: str,
) -> list[SOPClass]:
    """A series of images, DERIVED and SECONDARY, with RESEARCH and machine-made in the pixels of each.

    Whole numbers that 16 bits hold are kept; others are stored in 65535 steps from the lowest to the highest of the
    series. CT keeps whole Hounsfield units.

    Args:
        source: the images that they were made from.
        array: ``(I, J, K)`` finite numbers, on any grid; the third axis counts images.
        affine: 4x4, to RAS millimetres in the space of the source.
        maker: what made them.
        modality: MR, or CT for Hounsfield units.
        what: for the name of the series and the description of the derivation, such as "synthesis".

    Raises:
        CaseError: ``voxels-not-finite``, ``image-too-small`` for the words, ``values-out-of-range`` for CT numbers that
            16 bits do not hold, or ``source-sheared`` where the axes of the grid are not at right angles.
    """
    where = source.volume.called
    if not np.isfinite(array).all():
        raise CaseError(
            "voxels-not-finite",
            f"{where}: expected finite voxels in derived images, got NaN or infinite ones",
        )
    _check_right_angles(affine, where)
    frames = burn(as_frames(array))
    stored, slope, intercept = _stored(frames, modality, where)
    images = []
    for number, pixels in enumerate(stored):
        image = _image(source, maker, modality, number, what)
        _add_place(image, source, affine, number)
        image.set_pixel_data(pixels, "MONOCHROME2", 16, generate_instance_uid=False)
        if modality is DerivedModality.CT or (slope, intercept) != (1.0, 0.0):  # no part of plain MR images
            image.RescaleSlope, image.RescaleIntercept = (
                DS(slope, auto_format=True),
                DS(intercept, auto_format=True),
            )
            image.RescaleType = "HU" if modality is DerivedModality.CT else "US"
        _add_window(image, *np.percentile(array, _WINDOW_PERCENTILES).tolist())
        finish(image, source)
        images.append(image)
    ResultUids(source, maker, f"derived-{modality}-{what}").identify_series(images)
    return images


def _check_right_angles(affine: NDArray[np.float64], where: str) -> None:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    off = np.abs(axes.T @ axes - np.eye(3)).max()
    if off > 1e-3:
        raise CaseError(
            "source-sheared",
            f"{where}: expected a grid of derived images with axes at right angles, got some "
            f"{np.degrees(np.arcsin(min(off, 1.0))):.2g} degrees off; resample onto one that is upright",
        )


def _stored(frames: NDArray[Any], modality: DerivedModality, where: str) -> tuple[NDArray[Any], float, float]:
    """Voxels in 16 bits, with the slope and intercept that turn them back."""
    low, high = float(frames.min()), float(frames.max())
    whole = modality is DerivedModality.CT or np.issubdtype(frames.dtype, np.integer)
    if whole and low >= -(2**15) and high < 2**15:
        return np.rint(frames).astype(np.int16), 1.0, 0.0
    if modality is DerivedModality.CT:
        raise CaseError(
            "values-out-of-range",
            f"{where}: expected Hounsfield units from -32768 to 32767 in derived CT images, got {low:.4g} to "
            f"{high:.4g}; clip them",
        )
    if whole and low >= 0 and high <= _STEPS:
        return frames.astype(np.uint16), 1.0, 0.0
    slope = (high - low) / _STEPS
    return np.rint((frames.astype(np.float64) - low) / slope).astype(np.uint16), slope, low


def _add_window(image: SOPClass, low: float, high: float) -> None:
    width = high - low if high > low else 1.0
    image.WindowCenter = DS((low + high) / 2, auto_format=True)
    image.WindowWidth = DS(width, auto_format=True)
    if width < 2:
        image.VOILUTFunction = "LINEAR_EXACT"  # LINEAR takes one from the width


def _image(source: Source, maker: Maker, modality: DerivedModality, number: int, what: str) -> SOPClass:
    image = SOPClass(
        study_instance_uid=str(source.header.StudyInstanceUID),
        series_instance_uid=PENDING_UID,
        series_number=source.series_number(_SERIES),
        sop_instance_uid=PENDING_UID,
        sop_class_uid=CTImageStorage if modality is DerivedModality.CT else MRImageStorage,
        instance_number=number + 1,
        modality=modality.value,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **maker.equipment(),
        series_description=series_description(maker, what, source),
    )
    image.BurnedInAnnotation = "YES"
    image.DerivationDescription = f"{what} by {maker.bundle}: machine-made, for research"
    image.SourceImageSequence = list(source.references())
    image.LossyImageCompression = source.header.get("LossyImageCompression") or "00"
    if modality is DerivedModality.CT:
        image.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
        image.KVP, image.AcquisitionNumber = None, None
    else:
        image.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
        image.ScanningSequence, image.SequenceVariant, image.ScanOptions = "RM", "NONE", None
        image.MRAcquisitionType, image.RepetitionTime, image.EchoTime = None, None, None
        image.EchoTrainLength = None
    return image


def _add_place(image: SOPClass, source: Source, affine: NDArray[np.float64], number: int) -> None:
    lps = flip_lps_ras(affine)
    columns, rows, slices = (float(edge) for edge in np.linalg.norm(lps[:3, :3], axis=0))
    cosines = (lps[:3, :2] / (columns, rows)).T.ravel()
    image.FrameOfReferenceUID = source.header.FrameOfReferenceUID
    image.PositionReferenceIndicator = source.header.get("PositionReferenceIndicator")
    image.PixelSpacing = [DS(edge, auto_format=True) for edge in (rows, columns)]
    image.SliceThickness = image.SpacingBetweenSlices = DS(slices, auto_format=True)
    image.ImageOrientationPatient = [DS(float(value), auto_format=True) for value in cosines]
    position = (lps @ (0, 0, number, 1))[:3]
    image.ImagePositionPatient = [DS(float(value), auto_format=True) for value in position]
    image.PatientPosition = source.header.get("PatientPosition")
