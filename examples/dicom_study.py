"""Write a DICOM study to try a service with: the MNI152 T1 template about each hippocampus, one series a side.

The template is in nilearn's package; the patient is made up. Needs `medkit-imaging[dicom,demo]`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from mni152_hippocampi import CENTRES_MM, crop
from nilearn.datasets import load_mni152_template
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from medkit.data import Volume, as_volume

TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def slice_of(volume: Volume, index: int) -> Dataset:
    """A plane of a volume as an MR image: what its geometry and its pixels need."""
    affine = TO_LPS @ volume.grid.affine
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, generate_uid()
    image.ImageOrientationPatient = [*affine[:3, 0], *affine[:3, 1]]
    image.ImagePositionPatient = [*(affine[:3, 3] + index * affine[:3, 2])]
    image.PixelSpacing, image.SliceThickness = [1.0, 1.0], 1.0
    image.InstanceNumber = index + 1
    pixels = np.ascontiguousarray(volume.array[:, :, index].T, dtype=np.int16)
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    image.PixelData = pixels.tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder

    template = load_mni152_template(resolution=1)
    template.header.set_xyzt_units("mm")  # which its file does not state
    head = as_volume(template)
    head = Volume(np.rint(head.array / head.array.max() * 1000), head.grid, name="head")
    study, frame_of_reference = generate_uid(), generate_uid()
    for number, (side, centre) in enumerate(CENTRES_MM.items(), start=1):
        volume, _ = crop(head, centre)
        (folder / side).mkdir(parents=True, exist_ok=True)
        series = generate_uid()
        for index in range(volume.array.shape[2]):
            image = slice_of(volume, index)
            image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = (
                "Doe^Jo",
                "42",
                "",
                "",
            )
            image.StudyInstanceUID, image.SeriesInstanceUID = study, series
            image.FrameOfReferenceUID = frame_of_reference
            image.StudyDate, image.StudyTime, image.StudyID, image.AccessionNumber = (
                "20260102",
                "120000",
                "1",
                "",
            )
            image.ReferringPhysicianName, image.Manufacturer, image.PositionReferenceIndicator = "", "", ""
            image.Modality, image.SeriesNumber, image.BodyPartExamined = "MR", number, "BRAIN"
            image.SeriesDescription = f"T1 hippocampus {side}"
            image.ImageType, image.PatientPosition = ["ORIGINAL", "PRIMARY", "OTHER"], "HFS"
            image.ScanningSequence, image.SequenceVariant, image.ScanOptions = "GR", "NONE", ""
            image.MRAcquisitionType, image.EchoTime, image.RepetitionTime, image.EchoTrainLength = (
                "3D",
                3,
                2000,
                1,
            )
            image.save_as(folder / side / f"{index:03d}.dcm", enforce_file_format=True)
    print(f"study      {folder}, of {len(CENTRES_MM)} series")


if __name__ == "__main__":
    main()
