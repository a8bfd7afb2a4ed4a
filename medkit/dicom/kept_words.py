"""Which words of an object may stay when its patient goes: those that look like a scanner's or the standard's own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydicom import config
from pydicom.uid import UID

if TYPE_CHECKING:
    from collections.abc import Collection

    from pydicom.dataset import Dataset

__all__ = [
    "COMMON_SCHEMES",
    "KEPT_WORDS",
    "identifying_words",
    "is_code",
    "is_known_uid",
    "is_plain",
    "names_someone",
]

# Short names that a scanner gives; people who type write spaces.
_LABELS = {
    *("SequenceName", "PulseSequenceName", "ConvolutionKernel", "FilterType", "StackID", "ReceiveCoilName"),
    *(
        "PositionReferenceIndicator",
        "RescaleType",
        "CodeValue",
        "CodingSchemeDesignator",
        "CodingSchemeVersion",
    ),
}
# Words of a scanner or of the standard without which an image cannot be read or told from another.
KEPT_WORDS = {
    *_LABELS,
    *("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "CodeMeaning", "LongCodeValue"),
    *("ImagedNucleus", "ReconstructionMethod", "Radiopharmaceutical", "RandomsCorrectionMethod"),
    *("AttenuationCorrectionMethod", "ScatterCorrectionMethod"),
    *("SegmentAlgorithmName", "AlgorithmName", "AlgorithmVersion"),
}
# Whose meanings are printed somewhere (PS3.16, table 8-1); any other may have been made up at a place.
COMMON_SCHEMES = {
    *(
        "ACR",
        "ASTM-sigpurpose",
        "BARI",
        "BI",
        "C4",
        "C5",
        "CD2",
        "CPTM",
        "CVX",
        "DC",
        "DCM",
        "FMA",
        "HL7V3",
        "HPC",
    ),
    *(
        "I10",
        "I10C",
        "I10P",
        "I11",
        "I9",
        "I9C",
        "IBSI",
        "ICDO3",
        "ISO3166_1",
        "ISO3166_2",
        "ISO639_1",
        "ISO639_2",
    ),
    *(
        "ITIS_TSN",
        "LN",
        "MA",
        "MDC",
        "MDNS",
        "MSH",
        "NCIt",
        "NDC",
        "NEU",
        "NICIP",
        "NYUMCCG",
        "POS",
        "PATHLEX",
    ),
    *(
        "PUBCHEM_CID",
        "RADELEMENT",
        "RADLEX",
        "RFC3066",
        "RFC5646",
        "RXNORM",
        "SCT",
        "SNM3",
        "SRT",
        "UCUM",
        "UMLS",
    ),
    *("UNS", "UPC", "USEEQU", "UBERON"),
}
_LABEL = re.compile(r"[A-Za-z0-9*_.,;:+/#()\[\]'{}%^-]{1,16}")
_PHRASE = re.compile(r"[A-Za-z0-9*_.,;:+/#()\[\]'&%<> -]{1,64}")
# PS3.5 section 6.2; and body parts, which have letters alone (PS3.16 annex L).
_CODE, _BODY_PART = re.compile(r"[A-Z0-9_ ]{1,16}"), re.compile(r"[A-Z_]{1,16}")
_IDENTITY = (
    *(
        "PatientName",
        "PatientID",
        "OtherPatientIDs",
        "OtherPatientNames",
        "PatientBirthName",
        "PatientBirthDate",
    ),
    *("PatientMotherBirthName", "AccessionNumber", "StudyID", "ReferringPhysicianName"),
)
_WORD, _SHORTEST, _TELLING = re.compile(r"[^\W_]+"), 3, 5


def is_code(keyword: str, text: str) -> bool:
    """Whether one value of a coded string (CS) is written as one."""
    pattern = _BODY_PART if keyword == "BodyPartExamined" else _CODE
    return pattern.fullmatch(text) is not None


def is_known_uid(uid: str) -> bool:
    """Whether a UID is one of the standard's own, by pydicom's dictionary."""
    return UID(uid, config.IGNORE).name != uid


def is_plain(keyword: str, text: str) -> bool:
    """Whether one value of an element of :data:`KEPT_WORDS` looks like what a scanner writes there."""
    return (_LABEL if keyword in _LABELS else _PHRASE).fullmatch(text) is not None


def identifying_words(dataset: Dataset) -> frozenset[str]:
    """Names and numbers of an object's patient and study, in capitals, word by word."""
    found: set[str] = set()
    for name in _IDENTITY:
        found |= {word.upper() for word in _WORD.findall(str(dataset.get(name) or ""))}
    return frozenset(word for word in found if len(word) >= _SHORTEST)


def names_someone(text: str, words: Collection[str]) -> bool:
    """Whether a text has one of these words, or a long one of them within another."""
    upper = text.upper()
    return not set(_WORD.findall(upper)).isdisjoint(words) or any(
        len(word) >= _TELLING and word in upper for word in words
    )
