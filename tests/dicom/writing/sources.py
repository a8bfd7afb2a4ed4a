"""Small series of images, in any orientation and any order of files, and the volumes that a reader makes of them."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from medkit.data.label_codes import Concept, LabelCodes
from medkit.dicom.result import Frame, SeriesVolume
from medkit.dicom.writing.maker import Maker
from medkit.dicom.writing.source import Source, open_source
from tests.figures.orientations import stored_as

SHAPE = (9, 7, 5)
FLAT = (40, 36, 3)
ROOT = "1.2.826.0.1.3680043.10.1"
DIGEST = "0123456789abcdef" * 4
ANATOMY = Concept("91723000", "Anatomical Structure")
KIDNEY, LIVER = Concept("64033007", "Kidney"), Concept("10200004", "Liver")
LEFT, RIGHT = Concept("7771000", "Left"), Concept("24028007", "Right")
LESION, ABNORMAL = Concept("52988006", "Lesion"), Concept("49755003", "Morphologically Abnormal Structure")
CODES = {
    1: LabelCodes(ANATOMY, KIDNEY, (LEFT,)),
    2: LabelCodes(ANATOMY, KIDNEY, (RIGHT,)),
    5: LabelCodes(ABNORMAL, LESION, region=KIDNEY, region_modifiers=(LEFT,)),
}
NAMES = {1: "left kidney", 2: "right kidney", 5: "lesion of the left kidney"}
MAKER = Maker("kidneys_segmentation", "0.2.0", DIGEST, NAMES, CODES)


def rotation(degrees: float = 20.0) -> np.ndarray:
    """About an axis that is none of the body's."""
    axis = np.array([1.0, 2.0, 3.0]) / np.sqrt(14)
    cross = np.cross(np.eye(3), axis)
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return turn


def geometry(
    axcodes: str | tuple[str, ...] = "LPS", *, oblique: bool = False, shape=SHAPE
) -> tuple[np.ndarray, np.ndarray]:
    """An array that no symmetry leaves as it is, and its affine, as a volume with these axes would keep it."""
    values = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    stored, affine = stored_as(values, tuple(axcodes))
    return np.ascontiguousarray(stored), (rotation() @ affine if oblique else affine)


def write_series(
    folder: Path, array: np.ndarray, affine: np.ndarray, *, seed: int = 0, order: bool = True, **attributes
) -> SeriesVolume:
    """One MR image a slice, in files of random names and in a random order.

    Args:
        folder: for the files.
        array: ``(I, J, K)`` int16.
        affine: to RAS mm.
        seed: of the order of files and numbers.
        order: whether instance numbers follow the slices.
        attributes: that all images get, in the place of the usual ones; ``None`` leaves one out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    count = array.shape[2]
    names = random.Random(seed).sample(range(1000), count)
    frames = []
    for k in range(count):
        image = _image(array[:, :, k], lps, k, names[k] if not order else k + 1, attributes)
        path = folder / f"{names[k]:04}.dcm"
        image.save_as(path, enforce_file_format=True)
        frames.append(Frame(path, None, image.SOPInstanceUID, 1))
    return SeriesVolume(array, affine, tuple(frames), (), (), "003", f"{ROOT}.2", f"{ROOT}.1", "MR")


def source_with(folder: Path, **attributes) -> Source:
    """A source of a few oblique slices, in files whose order says nothing, with attributes of one's own."""
    array, affine = geometry("LPS", oblique=True, shape=FLAT)
    return open_source(write_series(folder, array, affine, order=False, **attributes))


def source_with_bytes(folder: Path, vr: str, **values: bytes) -> Source:
    """As :func:`source_with`, with bytes that pydicom would not write as values of elements."""
    volume = source_with(folder).volume
    for path in folder.iterdir():
        image = dcmread(path)
        for name, value in values.items():
            tag = Tag(name)
            image[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
        image.save_as(path)
    return open_source(volume)


def _image(pixels: np.ndarray, lps: np.ndarray, k: int, number: int, attributes: dict) -> Dataset:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.preamble = b"MZ" + bytes(126)  # as a file that is a program as well
    image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, f"{ROOT}.3.{k + 1}"
    image.StudyInstanceUID, image.SeriesInstanceUID = f"{ROOT}.1", f"{ROOT}.2"
    image.FrameOfReferenceUID = f"{ROOT}.4"
    image.PatientName, image.PatientID = "Doe^Jane", "KP-4711"
    image.PatientBirthDate, image.PatientSex, image.PatientAge = "19700101", "F", "050Y"
    image.StudyDate, image.StudyTime, image.StudyID, image.AccessionNumber = (
        "20200102",
        "030405",
        "S1",
        "AKZ-17",
    )
    image.SeriesDate, image.SeriesTime, image.SeriesNumber, image.InstanceNumber = (
        "20200102",
        "031500",
        3,
        number,
    )
    image.ReferringPhysicianName, image.StudyDescription = "Roe^Richard", "Kidneys"
    image.Modality, image.Manufacturer, image.ManufacturerModelName = "MR", "Scanners", "One"
    image.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    image.ScanningSequence, image.SequenceVariant, image.ScanOptions = "GR", "NONE", ""
    image.MRAcquisitionType, image.EchoTime, image.RepetitionTime, image.EchoTrainLength = "3D", 3, 9, 1
    image.PositionReferenceIndicator = ""
    image.SliceThickness = 1.5  # not the distance between slices
    columns, rows, _ = np.linalg.norm(lps[:3, :3], axis=0)
    image.PixelSpacing = [float(rows), float(columns)]
    cosines = np.concatenate([lps[:3, 0] / columns, lps[:3, 1] / rows])
    image.ImageOrientationPatient = [f"{value:.12f}" for value in cosines]
    image.ImagePositionPatient = [f"{value:.10f}"[:16] for value in (lps @ (0, 0, k, 1))[:3]]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns = pixels.shape[1], pixels.shape[0]
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    for name, value in attributes.items():
        if value is None:
            delattr(image, name)
        else:
            setattr(image, name, value)
    image.PixelData = pixels.T.astype("<i2").tobytes() + b"\0" * (pixels.size * 2 % 2)
    return image


def some_labels(shape=SHAPE, seed: int = 0) -> np.ndarray:
    """Labels 0, 1, 2 and 5 at random: no symmetry leaves them as they are, and no slice is empty."""
    return np.random.default_rng(seed).choice(np.array([0, 1, 2, 5], np.uint8), shape)
