"""Transfer syntaxes that images are negotiated in, which are those that the reader knows, and classes of storage."""

from __future__ import annotations

from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLETransferSyntaxes,
)
from pynetdicom import AllStoragePresentationContexts
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import register_uid

__all__ = ["COMPRESSED", "LABEL_MAP_SEGMENTATION", "NATIVE", "PLAIN", "STORAGE_CLASSES"]

LABEL_MAP_SEGMENTATION = UID("1.2.840.10008.5.1.4.1.1.66.7")
"""Label Map Segmentation Storage, newer than the lists of pydicom and pynetdicom."""
if LABEL_MAP_SEGMENTATION not in {context.abstract_syntax for context in AllStoragePresentationContexts}:
    register_uid(str(LABEL_MAP_SEGMENTATION), "LabelMapSegmentationStorage", StorageServiceClass)

STORAGE_CLASSES = tuple(
    sorted(
        {str(context.abstract_syntax) for context in AllStoragePresentationContexts}
        | {str(LABEL_MAP_SEGMENTATION)}
    )
)
"""Every SOP class of the storage service."""

PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""What every archive can be sent, the better one first: Implicit VR loses the types of private elements."""

NATIVE = (*PLAIN, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
"""Without compression of pixels, in the order in which a node chooses."""

COMPRESSED = (
    *JPEGLSTransferSyntaxes,
    *JPEG2000TransferSyntaxes,
    *JPEGTransferSyntaxes,
    *RLETransferSyntaxes,
)
"""With compression of pixels, without loss and with."""
