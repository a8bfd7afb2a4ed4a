"""What all results have in common: patient and study of the source, marked as research, and the same at every repeat."""

from __future__ import annotations

import re
import warnings
from contextlib import suppress
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from pydicom import Dataset
from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.uid import CTImageStorage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from highdicom.base import SOPClass
    from pydicom import DataElement

    from medkit.dicom.writing.maker import Maker
    from medkit.dicom.writing.source import Source

__all__ = ["RESEARCH", "copy_patient_and_study", "finish", "series_description"]

RESEARCH = "RESEARCH"
_UTF_8 = "ISO_IR 192"
_GROUPS_OF_RECORDS = (0x0008, 0x0010, 0x0012, 0x0020, 0x0032, 0x0038, 0x0040)
_TEXTS = ("LO", "LT", "SH", "ST", "UC", "UT")
_WITHOUT_OWN_TEXTS = ("PerFrameFunctionalGroupsSequence", "ContributingEquipmentSequence")
_LONG_STRING = 64  # characters of a DICOM LO
# Written by highdicom at the time of the call; a repeat would be other bytes under the same UID.
_CLOCK = ("InstanceCreationDate", "InstanceCreationTime")
_DATES_MODIFIED = "LongitudinalTemporalInformationModified"
_MOMENTS = {
    "ContentDate": 0,
    "ContentTime": 1,
    "DateOfSecondaryCapture": 0,
    "TimeOfSecondaryCapture": 1,
}


def series_description(maker: Maker, what: str, source: Source) -> str:
    """Name of the series in the lists of a viewer: that it is research comes first, and last of which series it is.

    Where there is no room for all of it, whole words of what is between are left out.
    """
    of_series = "" if source.number is None else f", series {source.number}"
    room = _LONG_STRING - len(RESEARCH) - 1 - len(of_series)
    return f"{RESEARCH} {_shortened(f'{what}, {maker.bundle}', room)}{of_series}"


def _shortened(text: str, length: int) -> str:
    """A text without the words at its end for which there is no room."""
    if len(text) <= length:
        return text
    whole_words = re.match(r"(.*\w)[\W_]", text[: length + 1])
    return whole_words[1].rstrip("_") if whole_words else text[:length]


def finish(dataset: SOPClass, source: Source) -> None:
    """Make a constructed object one of the source's study, and the same at every repeat but for its UIDs.

    Args:
        dataset: changed in place.
        source: the images that it is about.
    """
    source.restore_references(dataset)
    copy_patient_and_study(dataset, source.header)
    for name in _CLOCK:
        del dataset[name]
    for name, which in _MOMENTS.items():
        if name in dataset:
            setattr(dataset, name, source.moment[which])
    for item in dataset.get("ContributingEquipmentSequence", ()):
        item.pop("ContributionDateTime", None)
    if dataset.Modality not in ("SEG", "SR"):  # of a paired structure; empty where it is unknown
        dataset.Laterality = source.header.get("Laterality")
    if "ContentLabel" in dataset:
        dataset.ContentCreatorName = None  # no person; it has to be there all the same
    dataset.ContentQualification = RESEARCH
    dataset.preamble = bytes(128)


def copy_patient_and_study(dataset: SOPClass, header: Dataset) -> None:
    """Copy the modules letter by letter, in the header's own character set where that holds all letters.

    Args:
        dataset: changed in place; as it was constructed, with no texts but its own.
        header: of an image or another object of the study.
    """
    ours_fit = all(text.isascii() for text in _own_texts(dataset))
    records = Dataset()
    for tag in header.keys():  # noqa: SIM118 -- iterating a dataset decodes all of it
        if tag.group in _GROUPS_OF_RECORDS:
            with suppress(OverflowError):  # an infinite integer string, which no record is
                records.add(deepcopy(header[tag]))
    records.SOPClassUID = CTImageStorage  # highdicom looks up by class which attributes the modules have
    dataset.copy_patient_and_study_information(records)
    if _DATES_MODIFIED in header:  # PS3.15 E.1.1 asks for it beside what a patient's module has
        dataset[_DATES_MODIFIED] = deepcopy(header[_DATES_MODIFIED])
    dataset.pop("SpecificCharacterSet", None)
    stated = header.get("SpecificCharacterSet")
    if not ours_fit or not _fits(records, stated):
        dataset.SpecificCharacterSet = _UTF_8
    elif stated is not None:
        dataset.SpecificCharacterSet = stated


def _fits(records: Dataset, character_set: str | list[str] | None) -> bool:
    """Whether pydicom can write what it has read: in ISO_IR 13, katakana beside other letters become question marks.

    Names are left out, which keep the bytes that they were read from.
    """
    encodings = convert_encodings(character_set)
    texts = [text for element in records if element.VR in _TEXTS for text in _values(element)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return all(decode_bytes(encode_string(text, encodings), encodings, set()) == text for text in texts)


def _values(element: DataElement) -> Iterator[str]:
    value: Any = element.value
    yield from (part for part in (value if element.VM > 1 else [value]) if isinstance(part, str))


def _own_texts(dataset: Dataset) -> Iterator[str]:
    """Every text in an object before anything is copied into it, but those of its frames, which are coded."""
    for element in dataset:
        if element.keyword in _WITHOUT_OWN_TEXTS:
            continue
        if element.VR == "SQ":
            for item in element.value:
                yield from _own_texts(item)
        else:
            yield from _values(element)
