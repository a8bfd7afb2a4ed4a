"""What the headers of a volume's images tell of it, and of that what rules choose a bundle by.

Slices are asked all: what they do not agree on is not told, rather than taken from one of them.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, TypeVar

from medkit.dicom.enhanced import FunctionalGroups, is_enhanced
from medkit.dicom.findings import Refused
from medkit.dicom.instance import read_instance
from medkit.dicom.limits import Limits
from medkit.dicom.result import Told
from medkit.dicom.sources import SourceFile
from medkit.dicom.writing.maker import MANUFACTURER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from medkit.dicom.elements import Elements
    from medkit.dicom.instance import Instance
    from medkit.dicom.planes import Plane
    from medkit.dicom.result import SeriesReading, SeriesVolume

__all__ = ["is_own_result", "rule_facts", "series_facts", "told_by", "told_by_files"]

_Value = TypeVar("_Value")

# Whoever has no such words in his list of agents leaves the element empty, which says nothing.
_NO_AGENT = {
    *("NONE", "NO", "N", "NIL", "NEGATIVE", "WITHOUT", "NATIVE", "NATIV", "OHNE", "SANS", "0"),
    *("NO CONTRAST", "NON CONTRAST", "WITHOUT CONTRAST", "W/O CONTRAST", "UNENHANCED", "NONENHANCED"),
    *("NOT APPLIED", "NOT GIVEN", "NOT USED", "NO AGENT", "KEIN KM", "OHNE KM"),
}
_UNSAID = {"", "UNKNOWN", "?", "N/A", "NA", "NOT AVAILABLE", "-", "ANONYMIZED"}
# Such a word among others may deny an agent: what they say together is not known. Agents may be non-ionic.
_DENIALS = re.compile(
    r"\b(NO|NOT|NONE|NIL|WITHOUT|WO|OHNE|SANS|SIN|SENZA|KEINE?|GEEN|ZONDER|UDEN|UTAN|BEZ|FALSE|PLAIN|UNENHANCED)\b"
    r"|\bNON(?![- ]?IONIC)|\bNATI[VF]|\bNEGATIV|\bPRE\b|\bPRECONTRAST|\bW\s*/\s*O\b|^0\b"
)
_AMOUNTS = ("ContrastBolusVolume", "ContrastBolusTotalDose")
# Whose objects must have an agent where one was used (PS3.3, A.3, A.4, A.36 and A.38): none there means none given.
_WITH_AGENTS = {"CT", "MR"}
_SAME_THICKNESS = 1e-3


def rule_facts(volume: SeriesVolume) -> dict[str, Any]:
    """Facts on a volume, for rules: every key that :data:`medkit.batch.rules.FACTS` asks for.

    ``series`` is the volume's name. ``study`` is the SHA-256 of the Study Instance UID, as a ledger has it;
    ``frame_of_reference`` is made likewise. ``patient`` is that of number, issuer, birth date and sex together with the
    study's UID, so that no number can be found by trying all: it compares within a study.

    ``slice_thickness_mm`` is the element SliceThickness, by which protocols are known, and not the distance of slices,
    which differs from it where they overlap or have gaps. ``contrast_agent`` is false where CT or MR have no agent,
    which must stand there if one was used (PS3.3 C.7.6.4 and C.7.6.4b), or where it is a plain word for none; and
    unknown where the element is there, empty, or where its words may deny an agent or contradict an amount.

    Returns:
        Values are ``None`` where the series does not tell. ``series_description`` may hold patients' data.
    """
    return _facts(volume.name, volume.modality, volume.array.shape[2], volume.told)


def series_facts(series: SeriesReading) -> dict[str, Any]:
    """The same facts on a series that cannot be read, as far as the headers of its files agree; ``None`` elsewhere."""
    return _facts(series.series_instance_uid, series.modality, None, series.told)


def _facts(name: str, modality: str, slices: int | None, told: Told) -> dict[str, Any]:
    return {
        "series": name,
        "patient": told.patient,
        "study": told.study,
        "frame_of_reference": told.frame_of_reference,
        "modality": modality.strip() or None,
        "body_part": told.body_part,
        "series_description": told.series_description,
        "slice_thickness_mm": told.slice_thickness_mm,
        "slices": slices,
        "contrast_agent": told.contrast_agent,
        "image_type": told.image_type,
        "own_result": told.own_result,
    }


def is_own_result(path: Path, limits: Limits | None = None) -> bool:
    """Whether medkit made the object in a file: segmentations, reports and pictures too, which are no volumes.

    Args:
        path: a DICOM file.
        limits: of sizes.

    Raises:
        Refused: it is none, or cannot be read.
        OSError: the same of the disk.
    """
    source = SourceFile(path, path.name, path.stat().st_size)
    return _own(read_instance(source, limits or Limits()))


def told_by(planes: Sequence[Plane]) -> Told:
    """What the headers of a volume's slices tell. What cannot be read is not told: no voxel depends on it."""
    instances = list({id(plane.instance): plane.instance for plane in planes}.values())
    places = list(_places(planes))
    return Told(
        patient=_agreed(_patient(instance) for instance in instances),
        study=_agreed(_hash(instance, "StudyInstanceUID") for instance in instances),
        frame_of_reference=_agreed(_hash(instance, "FrameOfReferenceUID") for instance in instances),
        body_part=_unless_broken(lambda: _agreed(_body_part(place) for place in places)),
        series_description=_agreed(
            instance.elements.decoded("SeriesDescription") or None for instance in instances
        ),
        slice_thickness_mm=_unless_broken(lambda: _thickness(places)),
        contrast_agent=_unless_broken(lambda: _contrast(planes[0].instance.modality, places)),
        image_type=_type_of(plane.strict.get("image-type") for plane in planes),
        own_result=any(_own(instance) for instance in instances),
    )


def told_by_files(instances: Sequence[Instance]) -> Told:
    """What the headers of a series tell of it, whether it can be read or not.

    Of enhanced objects that is little, since frames say most; a contrast agent is not told, for where slices are broken
    its absence says nothing.
    """
    try:
        classic = not any(is_enhanced(instance) for instance in instances)
        elements = [instance.elements for instance in instances]
        places = [_Place(one, None) for one in elements] if classic else []
        return Told(
            body_part=_agreed(_body_part(place) for place in places),
            series_description=_agreed(one.decoded("SeriesDescription") or None for one in elements),
            slice_thickness_mm=_thickness(places),
            image_type=_type_of(one.text("ImageType") or None for one in elements) if classic else None,
            own_result=any(_own(instance) for instance in instances),
        )
    except Exception:  # whatever pydicom meets in a broken header: then nothing is known
        return Told()


class _Place:
    """Where a frame's attributes stand: in its functional groups, if it has any, and in its object."""

    def __init__(self, elements: Elements, groups: FunctionalGroups | None) -> None:
        self.elements, self.groups = elements, groups

    def items(self, group: str) -> list[Elements]:
        """Those of a functional group; none in a classic object."""
        return [] if self.groups is None else self.groups.items(group)


def _places(planes: Sequence[Plane]) -> Iterator[_Place]:
    """One of each frame; a classic object has the same for all."""
    per_frame: dict[int, list[Elements]] = {}
    for plane in planes:
        instance, elements = plane.instance, plane.instance.elements
        if not is_enhanced(instance):
            yield _Place(elements, None)
            continue
        own = per_frame.setdefault(id(instance), []) or elements.items("PerFrameFunctionalGroupsSequence")
        per_frame[id(instance)] = own
        shared = next(iter(elements.items("SharedFunctionalGroupsSequence")), None)
        yield _Place(elements, FunctionalGroups(own[plane.number - 1], shared))


def _agreed(values: Iterable[_Value | None]) -> _Value | None:
    found = list(dict.fromkeys(values))
    return found[0] if len(found) == 1 else None


def _unless_broken(fact: Callable[[], _Value | None]) -> _Value | None:
    try:
        return fact()
    except Refused:
        return None


def _own(instance: Instance) -> bool:
    return instance.elements.text("Manufacturer").lower() == MANUFACTURER


def _hash(instance: Instance, name: str) -> str | None:
    uid = instance.elements.text(name)
    return hashlib.sha256(uid.encode()).hexdigest() if uid else None


def _patient(instance: Instance) -> str | None:
    elements = instance.elements
    number, study = elements.text("PatientID"), elements.text("StudyInstanceUID")
    if not (number and study):
        return None
    rest = [elements.text(name) for name in ("IssuerOfPatientID", "PatientBirthDate", "PatientSex")]
    return hashlib.sha256("\n".join([study, number, *rest]).encode()).hexdigest()


def _body_part(place: _Place) -> str | None:
    coded = [
        region
        for holder in (*place.items("FrameAnatomySequence"), place.elements)
        for region in holder.items("AnatomicRegionSequence")
    ]
    said = (place.elements.text("BodyPartExamined"), *(region.decoded("CodeMeaning") for region in coded))
    return next((text.upper() for text in said if text), None)


def _thickness(places: Sequence[_Place]) -> float | None:
    found = []
    for place in places:
        holders = (*place.items("PixelMeasuresSequence"), place.elements)
        numbers = (holder.number("SliceThickness") for holder in holders)
        found.append(next((number for number in numbers if number is not None and number > 0), None))
    known = sorted(number for number in found if number is not None)
    if not known or len(known) < len(found) or known[-1] - known[0] > _SAME_THICKNESS * known[-1]:
        return None
    return known[0]


def _contrast(modality: str, places: Sequence[_Place]) -> bool | None:
    return _agreed(_frame_contrast(modality, place) for place in places)


def _frame_contrast(modality: str, place: _Place) -> bool | None:
    """Of a frame: what was administered to it; else the agent of its object.

    Protocols fill in amounts of agents that were not given: beside words that deny an agent they say nothing.
    """
    usage = [
        item.text("ContrastBolusAgentAdministered") for item in place.items("ContrastBolusUsageSequence")
    ]
    if usage:
        return True if "YES" in usage else False if set(usage) == {"NO"} else None
    elements = place.elements
    amount = any((elements.number(name) or 0) > 0 for name in _AMOUNTS)
    coded = elements.items("ContrastBolusAgentSequence")
    agents = [elements.decoded("ContrastBolusAgent"), *(item.decoded("CodeMeaning") for item in coded)]
    words = {" ".join(agent.upper().split()) for agent in agents} - _UNSAID
    if words & _NO_AGENT or any(_DENIALS.search(agent) for agent in words):
        return False if words <= _NO_AGENT and not amount else None
    if words or amount:
        return True
    if coded or "ContrastBolusAgent" in elements or modality not in _WITH_AGENTS:
        return None
    return False


def _type_of(stated: Iterable[str | None]) -> tuple[str, ...] | None:
    said = _agreed(stated)
    return tuple(said.split("\\")) if said else None
