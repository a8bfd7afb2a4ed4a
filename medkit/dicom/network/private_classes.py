"""Storage classes of vendors, which no edition of the standard has, and which scanners send beside their images.

A node that does not offer them has a sender leave them out, or give up the whole study. The list is that of the private
SOP classes without images which dcm4che knows (its dictionary of UIDs; dcm4chee-arc takes them, see
https://dcm4chee-arc-cs.readthedocs.io/en/latest/networking/specs/storage/storage.html).
"""

from __future__ import annotations

from pynetdicom import register_uid
from pynetdicom.service_class import StorageServiceClass

__all__ = ["PRIVATE_CLASSES", "know_private_classes"]

PRIVATE_CLASSES = {
    "1.2.124.113532.3500.7": "AgfaBasicAttributePresentationState",
    "1.2.124.113532.3500.8.1": "AgfaArrivalTransaction",
    "1.2.124.113532.3500.8.2": "AgfaDictationTransaction",
    "1.2.124.113532.3500.8.3": "AgfaReportTranscriptionTransaction",
    "1.2.124.113532.3500.8.4": "AgfaReportApprovalTransaction",
    "1.2.276.0.48.5.1.4.1.1.7": "TomTecAnnotation",
    "1.2.528.1.1001.5.1.1.1": "GECollage",
    "1.2.826.0.1.3680043.293.1.0.1": "ERADPracticeBuilderReportText",
    "1.2.826.0.1.3680043.293.1.0.2": "ERADPracticeBuilderReportDictation",
    "1.2.840.113543.6.6.1.3.10001": "PhilipsHPLive3D01",
    "1.2.840.113543.6.6.1.3.10002": "PhilipsHPLive3D02",
    "1.2.840.113619.4.26": "GE3DModel",
    "1.2.840.113619.4.27": "GEENTEGRAProtocolOrNMGenie",
    "1.2.840.113619.4.30": "GEPETRawData",
    "1.2.840.113619.4.5.249": "GERTPlan",
    "1.3.12.2.1107.5.9.1": "SiemensCSANonImage",
    "1.3.12.2.1107.5.99.3.10": "SiemensCTMRVolume",
    "1.3.12.2.1107.5.99.3.11": "SiemensAXFrameSets",
    "1.3.46.670589.11.0.0.12.1": "PhilipsMRSpectrum",
    "1.3.46.670589.11.0.0.12.2": "PhilipsMRSeriesData",
    "1.3.46.670589.11.0.0.12.4": "PhilipsMRExamcard",
    "1.3.46.670589.2.11.1.1": "PhilipsVolumeSet",
    "1.3.46.670589.2.3.1.1": "PhilipsSpecialisedXA",
    "1.3.46.670589.2.5.1.1": "Philips3DPresentationState",
    "1.3.46.670589.2.8.1.1": "PhilipsVRML",
    "1.3.46.670589.5.0.1": "PhilipsVolumeRetired",
    "1.3.46.670589.5.0.1.1": "PhilipsVolume",
    "1.3.46.670589.5.0.11": "PhilipsMRCardioAnalysisRetired",
    "1.3.46.670589.5.0.11.1": "PhilipsMRCardioAnalysis",
    "1.3.46.670589.5.0.13": "PhilipsPerfusion",
    "1.3.46.670589.5.0.2": "Philips3DObjectRetired",
    "1.3.46.670589.5.0.2.1": "Philips3DObject",
    "1.3.46.670589.5.0.3": "PhilipsSurfaceRetired",
    "1.3.46.670589.5.0.3.1": "PhilipsSurface",
    "1.3.46.670589.5.0.4": "PhilipsCompositeObject",
    "1.3.46.670589.5.0.7": "PhilipsMRCardioProfile",
    "1.3.46.670589.5.0.8": "PhilipsMRCardioRetired",
    "1.3.46.670589.5.0.8.1": "PhilipsMRCardio",
    "1.3.46.670589.7.8.1618510091": "PhilipsXRayMF",
    "1.3.46.670589.7.8.1618510092": "PhilipsLiveRun",
    "1.3.46.670589.7.8.16185100129": "PhilipsRun",
    "1.3.46.670589.7.8.16185100130": "PhilipsReconstruction",
}
"""UID of each class to a name for it."""


def know_private_classes() -> None:
    """Have pynetdicom store objects of these classes as it does those of the standard; for the whole process."""
    for uid, name in PRIVATE_CLASSES.items():
        register_uid(uid, f"Private{name}Storage", StorageServiceClass)
