"""UIDs that follow from what an object is made of, so that a repeat is the same object.

An archive that has an object answers another one of its UID with success and keeps the old one. So the UID of an
instance stands for all that the object says, whatever decided it; that of a series for source, maker and kind.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from pydicom.filebase import DicomIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from highdicom.base import SOPClass
    from pydicom import Dataset

    from medkit.dicom.writing.maker import Maker
    from medkit.dicom.writing.source import Source

__all__ = ["PENDING_UID", "ResultUids", "derived_uid"]


def derived_uid(*parts: str) -> str:
    """A UID under 2.25 (DICOM PS3.5, B.2) from the SHA-256 of texts: the same for the same ones."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogateescape")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return f"2.25.{uuid.UUID(bytes=digest.digest()[:16], version=5).int}"


PENDING_UID = derived_uid("pending")
"""What constructors are given for a UID that follows from the content: an object is identified when it is finished."""


@dataclass(frozen=True)
class ResultUids:
    """The UIDs of one result.

    Args:
        source: the images that it is about.
        maker: what made it.
        kind: of object, such as ``segmentation-binary``.
    """

    source: Source
    maker: Maker
    kind: str

    @property
    def series(self) -> str:
        """UID of its series, where each object in it stands for itself."""
        return self._uid("series")

    def identify(self, dataset: SOPClass) -> None:
        """Give a finished object its UIDs. Whatever is changed in it afterwards makes them those of another one.

        Its elements are those of any data set from here on: sequences lose the classes that highdicom gave them.
        """
        self._identify(dataset, self.series, _encode(dataset))

    def identify_series(self, images: Sequence[SOPClass]) -> None:
        """Give the finished images of a volume their UIDs, and a series that no other volume is in."""
        digests = [_encode(image) for image in images]
        series = self._uid("series", *digests)
        for image, digest in zip(images, digests, strict=True):
            self._identify(image, series, digest)

    def _identify(self, dataset: SOPClass, series: str, digest: str) -> None:
        instance = self._uid("instance", series, digest)
        dataset.SeriesInstanceUID = series
        dataset.SOPInstanceUID = instance
        dataset.file_meta.MediaStorageSOPInstanceUID = UID(instance)
        for item in _dimensions(dataset):
            item.DimensionOrganizationUID = derived_uid("dimensions", instance)

    def _uid(self, *names: str) -> str:
        return derived_uid(self.kind, self.source.identity, self.maker.identity, *names)


def _encode(dataset: SOPClass) -> str:
    """Encode an object in place, so that nobody has to again; its SHA-256, but for the UIDs that follow from that."""
    dataset.SOPInstanceUID = dataset.SeriesInstanceUID = PENDING_UID
    for item in _dimensions(dataset):
        item.DimensionOrganizationUID = PENDING_UID
    content = BytesIO()
    written = DicomIO(content)
    written.is_little_endian, written.is_implicit_VR = True, False
    write_dataset(written, dataset)
    content.seek(0)
    encoded = read_dataset(content, is_implicit_VR=False, is_little_endian=True)
    for element in encoded.elements():
        dataset[element.tag] = element
    dataset.set_original_encoding(False, True, encoded.original_character_set)
    return hashlib.sha256(content.getbuffer()).hexdigest()


def _dimensions(dataset: Dataset) -> Iterator[Dataset]:
    for name in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        yield from dataset.get(name, ())
