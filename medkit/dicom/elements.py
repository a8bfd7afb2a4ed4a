"""Values of DICOM elements, read off their bytes once, without pydicom's slow and lenient conversions.

pydicom takes 0.1 s for the values of a hundred slices that a reader asks for, and gives strings where a number has a
comma. Here a number is a number, or the file is refused.
"""

from __future__ import annotations

import math
import re
import struct
import unicodedata
from functools import cache
from typing import TYPE_CHECKING, Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

from medkit.dicom.findings import Finding, Refused

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["PRIVATE", "Elements", "is_number", "tag_of"]

_TEXT_VRS = frozenset(
    ["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"]
)
_STRUCTS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_NUMBER_VRS = frozenset(["DS", "IS", *_STRUCTS])
# Of an integer string twelve characters are allowed (PS3.5 section 6.2).
_WHOLE = re.compile(r"[+-]?[0-9]{1,12}")
_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
# Vendors' own elements: tag, VR, and the creator that must own the block.
PRIVATE = {
    "SiemensBValue": (0x0019100C, "IS", "SIEMENS MR HEADER"),
    "SiemensDirection": (0x0019100E, "FD", "SIEMENS MR HEADER"),
    "GEBValue": (0x00431039, "IS", "GEMS_PARM_01"),
    "PhilipsBValue": (0x20011003, "FL", "Philips Imaging DD 001"),
    "UIHBValue": (0x00651009, "FD", "Image Private Header"),
}


@cache
def tag_of(name: str) -> BaseTag:
    """The tag of a keyword of the standard, or of a name in ``PRIVATE``."""
    if name in PRIVATE:
        return Tag(PRIVATE[name][0])
    tag = tag_for_keyword(name)
    if tag is None:
        raise KeyError(name)
    return Tag(tag)


@cache
def _vr_of(name: str) -> str:
    return PRIVATE[name][1] if name in PRIVATE else dictionary_VR(tag_of(name)).split(" ")[0]


@cache
def is_number(name: str) -> bool:
    """Whether the standard has numbers as values of an element, and not text, a date or a time."""
    return _vr_of(name) in _NUMBER_VRS


class Elements:
    """The elements of a data set or of a sequence's item, by keyword.

    Args:
        dataset: as pydicom read it; values may be raw.
        where: how messages call the file.
        notes: gets remarks on values that were read though the standard knows no such; shared with all items.
    """

    def __init__(self, dataset: Dataset, where: str, notes: dict[Finding, None] | None = None) -> None:
        self.dataset = dataset
        self.where = where
        self.notes: dict[Finding, None] = {} if notes is None else notes

    def __contains__(self, name: str) -> bool:
        return self._element(name) is not None

    def _element(self, name: str) -> Any:
        if name in PRIVATE:
            tag, _, creator = PRIVATE[name]
            block = self.dataset.get_item((tag & 0xFFFF0000) | ((tag & 0xFFFF) >> 8))
            if block is None or creator.lower() not in _as_text(block.value).lower():
                return None
        return self.dataset.get_item(tag_of(name))

    def strings(self, name: str) -> list[str]:
        """The values as text, without padding; none where the element is missing or empty."""
        return [f"{value:.9g}" if isinstance(value, float) else str(value) for value in self._values(name)]

    def text(self, name: str) -> str:
        """All values as one string, with backslashes between them; empty where there are none."""
        return "\\".join(self.strings(name))

    def numbers(self, name: str, *, finite: bool = True) -> list[float]:
        """The values as numbers, infinite ones and NaN among them only where ``finite`` is off.

        Raises:
            Refused: ``bad-value``, where one is none.
        """
        return [self._number(name, value, finite) for value in self._values(name)]

    def number(self, name: str) -> float | None:
        """The one value; ``None`` where there is none.

        Raises:
            Refused: ``bad-value``, where there are several or it is no number.
        """
        found = self.numbers(name)
        if len(found) > 1:
            raise Refused(
                "bad-value", f"{self.where}: expected one number as {name}, got {len(found)}; export it again"
            )
        return found[0] if found else None

    def integer(self, name: str) -> int | None:
        """The one value as a whole number; see :meth:`number`."""
        value = self.number(name)
        if value is not None and value != int(value):
            raise Refused(
                "bad-value",
                f"{self.where}: expected a whole number as {name}, got {value:g}; export it again",
            )
        return None if value is None else int(value)

    def whole(self, name: str) -> int | None:
        """The one value as a whole number, of an element that no voxel depends on; ``None`` where it is none."""
        try:
            text = self.text(name)
        except Refused:
            return None
        return int(text) if _WHOLE.fullmatch(text) else None

    def items(self, name: str) -> list[Elements]:
        """The items of a sequence; none where it is missing.

        Raises:
            Refused: ``bad-value``, where the element is no sequence.
        """
        if self._element(name) is None:
            return []
        try:
            value = self.dataset[tag_of(name)].value
            return [Elements(item, self.where, self.notes) for item in value or ()]
        except Exception as error:  # pydicom raises what it meets in broken sequences
            raise Refused(
                "bad-value",
                f"{self.where}: expected a sequence as {name}, got one that cannot be read ({error})",
            ) from error

    def raw(self, name: str) -> bytes:
        """The bytes of an element, as stored; empty where it is missing."""
        element = self._element(name)
        value = None if element is None else element.value
        return value if isinstance(value, bytes) else str(value or "").encode()

    def decoded(self, name: str) -> str:
        """The text of an element in Unicode, by the character set of its object; empty where there is none."""
        element = self.dataset.get(tag_of(name))
        value = "" if element is None else element.value or ""
        return str("\\".join(value) if isinstance(value, MultiValue) else value).strip(" \0")

    def person_name(self, name: str) -> str:
        """A name in Unicode, whatever its character set, without empty components at its end."""
        text = unicodedata.normalize("NFKC", self.decoded(name))
        return "=".join(group.rstrip("^ ") for group in text.split("=")).rstrip("=")

    def _number(self, name: str, value: str | float, finite: bool) -> float:
        try:
            number = float(value)
        except ValueError:
            text = str(value).strip()
            if not _COMMA.fullmatch(text):
                raise Refused(
                    "bad-value", f"{self.where}: expected a number as {name}, got {text!r}; export it again"
                ) from None
            self.notes[
                Finding("decimal-comma", f"{name}: read {text!r} with its comma as the decimal point")
            ] = None
            number = float(text.replace(",", "."))
        if finite and not math.isfinite(number):
            raise Refused(
                "bad-value", f"{self.where}: expected a finite number as {name}, got {value}; export it again"
            )
        return number

    def _values(self, name: str) -> list[Any]:
        element = self._element(name)
        if element is None or element.value is None:
            return []
        if not isinstance(element, RawDataElement):
            return _listed(element.value)
        # De-identifiers write vendors' elements as bytes of no type.
        unsaid = (None, "UN", "OB") if name in PRIVATE else (None, "UN")
        vr = _vr_of(name) if element.VR in unsaid else element.VR
        if vr in _TEXT_VRS:
            text = _as_text(element.value)
            return [part.strip(" \0") for part in text.split("\\")] if text else []
        if vr not in _STRUCTS:
            raise Refused(
                "bad-value", f"{self.where}: expected {_vr_of(name)} as {name}, got {vr}; export it again"
            )
        letter = _STRUCTS[vr]
        count, rest = divmod(len(element.value), struct.calcsize(letter))
        if rest:
            raise Refused(
                "bad-value", f"{self.where}: expected whole values as {name}, got {len(element.value)} bytes"
            )
        return list(
            struct.unpack(f"{'<' if element.is_little_endian else '>'}{count}{letter}", element.value)
        )


def _as_text(value: Any) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return text.strip(" \0")


def _listed(value: Any) -> list[Any]:
    if isinstance(value, (str, bytes)):
        text = _as_text(value)
        return text.split("\\") if text else []
    return list(value) if hasattr(value, "__iter__") else [value]
