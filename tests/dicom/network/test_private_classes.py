"""Vendors' own objects come beside images, and a class that nobody knows keeps no image out."""

from __future__ import annotations

import re
from copy import deepcopy

import pydicom
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE

from medkit.dicom.network.private_classes import PRIVATE_CLASSES
from tests.dicom.network.takers import CALLER, node

SIEMENS_CSA_NON_IMAGE, NOBODYS = "1.3.12.2.1107.5.9.1", "1.3.12.2.1107.5.9.999"


def own_object(image: pydicom.Dataset, kind: str) -> pydicom.Dataset:
    """As a scanner sends it: the study of the images, elements of its own, and no pixels."""
    made = deepcopy(image)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = kind
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"{image.SOPInstanceUID}.9"
    for name in ("PixelData", "Rows", "Columns"):
        del made[name]
    made.private_block(0x29, "SIEMENS CSA NON-IMAGE", create=True).add_new(0x10, "OB", bytes(100))
    return made


def send(port: int, datasets) -> list[int | None]:
    """The status of each; none where its class was not accepted."""
    entity = AE(CALLER)
    for kind in {one.SOPClassUID for one in datasets}:
        entity.add_requested_context(kind, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title="MEDKIT")
    assert association.is_established
    accepted = {one.abstract_syntax for one in association.accepted_contexts}
    statuses = [
        association.send_c_store(one).Status if one.SOPClassUID in accepted else None for one in datasets
    ]
    association.release()
    return statuses


def test_an_object_of_a_vendor_is_taken_beside_its_images(study, taken):
    image = pydicom.dcmread(study[0])
    other = own_object(image, SIEMENS_CSA_NON_IMAGE)
    with node(taken) as listening:
        assert send(listening.port, [image, other, own_object(image, NOBODYS)]) == [0, 0, None]
    assert {instance for _, instance in taken.files} == {image.SOPInstanceUID, other.SOPInstanceUID}
    file = pydicom.dcmread(
        pydicom.filebase.DicomBytesIO(taken.files[other.StudyInstanceUID, other.SOPInstanceUID])
    )
    assert file.SOPClassUID == SIEMENS_CSA_NON_IMAGE
    assert file.get_private_item(0x29, 0x10, "SIEMENS CSA NON-IMAGE").value == bytes(100)


def test_all_of_the_list_are_accepted(study, taken):
    image = pydicom.dcmread(study[0])
    assert image.SOPClassUID == CTImageStorage
    with node(taken) as listening:
        objects = [own_object(image, kind) for kind in PRIVATE_CLASSES]
        assert send(listening.port, objects) == [0] * len(PRIVATE_CLASSES)


def test_the_list_is_of_private_classes_each_once():
    assert len(PRIVATE_CLASSES) > 40
    assert all(re.fullmatch(r"[12](\.(0|[1-9]\d*))+", uid) and len(uid) <= 64 for uid in PRIVATE_CLASSES)
    assert not any(uid.startswith("1.2.840.10008.") for uid in PRIVATE_CLASSES)
    assert len(set(PRIVATE_CLASSES.values())) == len(PRIVATE_CLASSES)
