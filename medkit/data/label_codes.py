"""What labels mean, in the codes of a terminology: SNOMED CT, unless another is named.

A bundle's metadata have them under ``segment_codes``, in the form of ``medkit/schemas/segment_codes.schema.json``. They
follow the Segment Description Macro (DICOM PS3.3, table C.8.20-4) and its General Anatomy Macro.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonschema import Draft202012Validator

__all__ = ["Concept", "LabelCodes", "label_codes", "label_codes_problems"]

_SNOMED_CT = "SCT"
# How digits enter Verhoeff's check digit by their place.
_PERMUTATION = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


@dataclass(frozen=True)
class Concept:
    """A coded concept.

    Args:
        value: of the code, unique within its scheme.
        meaning: for people; two concepts are the same whatever their meanings say.
        scheme: designator of the coding scheme, as DICOM PS3.16 section 8 has them.
    """

    value: str
    meaning: str
    scheme: str = _SNOMED_CT


@dataclass(frozen=True)
class LabelCodes:
    """What one label is.

    Args:
        category: of the structure, such as Anatomical Structure (CID 7150).
        type: the structure itself (CID 7151).
        modifiers: of the type, such as its side (CID 244).
        region: where the structure lies, where its type does not say so (CID 4).
        region_modifiers: of the region, such as its side.
    """

    category: Concept
    type: Concept
    modifiers: tuple[Concept, ...] = ()
    region: Concept | None = None
    region_modifiers: tuple[Concept, ...] = ()

    @property
    def concepts(self) -> tuple[Concept, ...]:
        """All concepts of the label."""
        region = () if self.region is None else (self.region,)
        return (self.category, self.type, *self.modifiers, *region, *self.region_modifiers)


def label_codes(content: Any, where: str) -> dict[int, LabelCodes]:
    """Label value, or channel of masks, to its codes.

    Args:
        content: value of ``segment_codes`` in a bundle's metadata.
        where: file and key, for messages.

    Raises:
        UsageError: it has another form, a SNOMED CT identifier is mistyped, or two labels have the same codes.
    """
    for problem in label_codes_problems(content):
        raise UsageError(f"{where}: {problem}")
    return {int(value): _codes_of(entry) for value, entry in content.items()}


def label_codes_problems(content: Any) -> Iterator[str]:
    """What is wrong with ``segment_codes``, one line each: form, check digits, one code for several labels."""
    faults = sorted(
        _validator().iter_errors(content), key=lambda fault: [str(s) for s in fault.absolute_path]
    )
    for fault in faults:
        place = "::".join(str(step) for step in fault.absolute_path)
        yield f"{place or 'top level'}: {' '.join(fault.message.split()):.200}"
    if faults:
        return
    labels: dict[tuple[Any, ...], str] = {}
    for label, entry in content.items():
        codes = _codes_of(entry)
        for concept in codes.concepts:
            if concept.scheme == _SNOMED_CT and not is_snomed_identifier(concept.value):
                yield (
                    f"{label}: expected a SNOMED CT concept identifier for '{concept.meaning}', got {concept.value}, "
                    "whose check digit or kind is wrong; look it up again"
                )
        key = _without_meanings(codes)
        if key in labels:
            yield (
                f"{label}: expected codes of its own, got those of label {labels[key]}; tell them apart by "
                "'modifiers', such as the side"
            )
        labels.setdefault(key, label)


def is_snomed_identifier(value: str) -> bool:
    """Whether a text is the identifier of a SNOMED CT concept: digits, a partition of concepts, Verhoeff's check digit.

    After the SNOMED CT Technical Implementation Guide, sections 4.2 to 4.4 (partitions ``00`` and ``10``).
    """
    if not (value.isascii() and value.isdigit() and 6 <= len(value) <= 18 and value[0] != "0"):
        return False
    if value[-3:-1] not in ("00", "10"):
        return False
    check = 0
    for place, digit in enumerate(reversed(value)):
        number = int(digit)
        for _ in range(place % 8):
            number = _PERMUTATION[number]
        check = _dihedral_product(check, number)
    return check == 0


def _dihedral_product(a: int, b: int) -> int:
    """Product in the dihedral group of order 10: 0 to 4 are turns, 5 to 9 are reflections."""
    turned = a + b if a < 5 else a - b
    return turned % 5 + (5 if (a < 5) != (b < 5) else 0)


def _without_meanings(codes: LabelCodes) -> tuple[Any, ...]:
    def keys(*concepts: Concept | None) -> frozenset[tuple[str, str]]:
        return frozenset((concept.scheme, concept.value) for concept in concepts if concept is not None)

    return keys(codes.type), keys(*codes.modifiers), keys(codes.region), keys(*codes.region_modifiers)


def _codes_of(entry: dict[str, Any]) -> LabelCodes:
    return LabelCodes(
        category=Concept(**entry["category"]),
        type=Concept(**entry["type"]),
        modifiers=tuple(Concept(**item) for item in entry.get("modifiers", ())),
        region=Concept(**entry["region"]) if "region" in entry else None,
        region_modifiers=tuple(Concept(**item) for item in entry.get("region_modifiers", ())),
    )


@cache
def _validator() -> Draft202012Validator:
    from jsonschema import Draft202012Validator

    schema = files("medkit").joinpath("schemas", "segment_codes.schema.json").read_text("utf-8")
    return Draft202012Validator(json.loads(schema))
