"""De-identify a data set by the Basic Application Level Confidentiality Profile (PS3.15, annex E), and more strictly.

The standard's table says what is done to an attribute; of those that it does not name, what can hold words of a person
goes too, unless the image cannot be understood without it. Where the standard leaves a choice, the one is taken that is
valid whether or not an object must have the attribute: a dummy rather than nothing, nothing rather than its absence.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from medkit.dicom.elements import PRIVATE
from medkit.dicom.kept_words import (
    COMMON_SCHEMES,
    KEPT_WORDS,
    identifying_words,
    is_code,
    is_known_uid,
    is_plain,
    names_someone,
)
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydicom.tag import BaseTag

__all__ = ["KEY_VARIABLE", "Dates", "Deidentifier", "edition", "fingerprint", "key_of_environment"]

KEY_VARIABLE = "MEDKIT_DEIDENTIFICATION_KEY"
"""The environment variable with the key."""

_KEY_BYTES = 16

_NOBODY = "ANONYMIZED"
_LOCAL = f"99{_NOBODY}"  # a scheme of a place's own
_DUMMIES: dict[str, Any] = {
    **dict.fromkeys(("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), _NOBODY),
    "AS": "000Y",
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "UR": "http://anonymized.invalid",
}
_NUMBERS = {"AT", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"}
_ARRAYS = {"OD", "OF", "OL"}
# Words of two bytes, in which a voice may be recorded as well.
_KEPT_ARRAYS = {
    *("PixelData", "LUTData", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData"),
    *("BluePaletteColorLookupTableData", "AlphaPaletteColorLookupTableData"),
}
# How to show an image, and tables of bytes that can be done without.
_DISPLAY = {"VOILUTSequence", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"}
_DIGITS = re.compile(r"[0-9+\-.,eE \0\\]*")
_PIXELS = 0x7FE00010
_ACQUISITION_CONTEXT = (
    0x00400555  # that enhanced images must have, be it empty; other such sequences need not be there
)
# Curves and overlays, in which graphics and words lie.
_REPEATING = ((0x5000, 0x50FF), (0x6000, 0x60FF))
# Of what is needed to follow a disease or the decay of a tracer; times of day stay.
_SHIFTED = {
    *("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "AcquisitionDateTime"),
    *("FrameAcquisitionDateTime", "FrameReferenceDateTime", "RadiopharmaceuticalStartDateTime"),
    *("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime", "RadiopharmaceuticalStartTime"),
}
_METHOD = (("113100", "Basic Application Confidentiality Profile"),)
_SHIFT_METHOD = ("113107", "Retain Longitudinal Temporal Information Modified Dates Option")
_PRIVATE_METHOD = ("113111", "Retain Safe Private Option")


@cache
def _profile() -> dict[str, Any]:
    text = files("medkit").joinpath("dicom", "basic_profile.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def edition() -> str:
    """Which edition of the standard the table is from."""
    return str(_profile()["edition"])


@cache
def _actions() -> dict[int, str]:
    return {int(tag, 16): action for tag, action in _profile()["actions"].items()}


@dataclass(frozen=True)
class _Told:
    """Of a patient: by how many days dates are moved, and the words by which he can be known."""

    days: int
    words: frozenset[str]


class Dates(StrEnum):
    """What becomes of dates."""

    REMOVED = "remove-dates"
    SHIFTED = "shift-dates"


def key_of_environment() -> bytes | None:
    """The key that :data:`KEY_VARIABLE` holds, if any."""
    return os.fsencode(os.environ.get(KEY_VARIABLE, "")) or None


def fingerprint(key: bytes) -> str:
    """By which keys can be compared, and none be found."""
    return _digest(key, "fingerprint").hex()[:12]


@dataclass(frozen=True)
class Deidentifier:
    """Makes data sets nobody's, the same ones from the same with the same key.

    Args:
        key: secret, of at least 16 bytes: with it, and an original number, a pseudonym can be found again.
        shift_dates: keep dates of study, series, acquisition and content, all of a patient's moved into the past by one
            number of days (1 to 3650), and times of day. Otherwise they are removed.
        keep_diffusion: keep the private b-values and directions that medkit reads (PS3.15 E.3.10).

    Raises:
        UsageError: the key is too short.
    """

    key: bytes = field(repr=False)
    shift_dates: bool = False
    keep_diffusion: bool = False

    def __post_init__(self) -> None:
        if len(self.key) < _KEY_BYTES:
            raise UsageError(
                f"expected a key of at least {_KEY_BYTES} bytes, got {len(self.key)}: a short one can be found by "
                "trying; take a random one"
            )

    @classmethod
    def of_environment(cls, dates: Dates) -> Deidentifier:
        """With the key of :data:`KEY_VARIABLE`.

        Args:
            dates: what becomes of them.

        Raises:
            UsageError: it is not set, too short, or begins or ends with white space.
        """
        if (made := cls.of_known_key(shift_dates=dates is Dates.SHIFTED)) is None:
            raise UsageError(
                f"{KEY_VARIABLE}: expected an environment variable with a key of {_KEY_BYTES} bytes or more, got "
                "none; set it"
            )
        return made

    @classmethod
    def of_known_key(cls, **options: bool) -> Deidentifier | None:
        """With the key of :data:`KEY_VARIABLE`, if there is one; raises what :meth:`of_environment` does.

        Args:
            options: what else this class takes.
        """
        if (key := key_of_environment()) is None:
            return None
        if key != key.strip():
            raise UsageError(
                f"{KEY_VARIABLE}: expected a key that neither begins nor ends with white space, got one that does: with "
                "the line break of a file it would be another key; take that off"
            )
        try:
            return cls(key, **options)
        except UsageError as error:
            raise UsageError(f"{KEY_VARIABLE}: {error}") from None

    def clean(self, dataset: Dataset) -> None:
        """De-identify a data set in place.

        Raises:
            Exception: what pydicom meets in elements that it cannot read.
        """
        name = self.pseudonym(dataset)
        self._clean(dataset, _Told(self._days(dataset), identifying_words(dataset)))
        dataset.PatientID = dataset.PatientName = name
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = f"medkit, {edition()}"[:64]
        dataset.DeidentificationMethodCodeSequence = list(self._methods())
        dataset.LongitudinalTemporalInformationModified = "MODIFIED" if self.shift_dates else "REMOVED"

    def uid(self, uid: str) -> str:
        """Another UID, the same for the same one; those of the standard itself that are known stay."""
        bare = uid.strip(" \0")
        if not bare or is_known_uid(bare):
            return bare
        return f"2.25.{uuid.UUID(bytes=_digest(self.key, 'uid', bare)[:16], version=5).int}"

    def pseudonym(self, dataset: Dataset) -> str:
        """Of its patient by number and issuer; of the study, where there is no number."""
        return f"MK{_digest(self.key, 'patient', *_patient(dataset)).hex()[:16].upper()}"

    def _days(self, dataset: Dataset) -> int:
        return 1 + int.from_bytes(_digest(self.key, "days", *_patient(dataset))[:8], "big") % 3650

    def _methods(self) -> Iterable[Dataset]:
        asked = [_SHIFT_METHOD] if self.shift_dates else []
        asked += [_PRIVATE_METHOD] if self.keep_diffusion else []
        for value, meaning in (*_METHOD, *asked):
            item = Dataset()
            item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
            yield item

    def _clean(self, dataset: Dataset, told: _Told, dummy: bool = False) -> None:
        """Args: ``dummy``: whether all words go, those of codes too, as within a sequence to be replaced."""
        private = self._safe_private(dataset) if self.keep_diffusion else set()
        for tag in list(dataset.keys()):
            if tag in private:
                continue
            vr = None if _never(tag) else _value_representation(dataset, tag)
            if vr is None:
                del dataset[tag]
            elif vr == "SQ":
                self._clean_sequence(dataset, tag, told, dummy)
            else:
                self._clean_value(dataset, tag, vr, told, dummy)
        _clean_local_code(dataset)

    def _clean_sequence(self, dataset: Dataset, tag: BaseTag, told: _Told, dummy: bool) -> None:
        action = _actions().get(tag)
        if action in ("X", "X/D", "X/Z/D") or (action == "X/Z" and tag != _ACQUISITION_CONTEXT):
            del dataset[tag]
        elif action in ("Z", "X/Z"):
            dataset[tag].value = []
        else:
            for item in dataset[tag].value or ():
                self._clean(item, told, dummy or action == "D")

    def _clean_value(self, dataset: Dataset, tag: BaseTag, vr: str, told: _Told, dummy: bool) -> None:
        action, keyword = _actions().get(tag), keyword_for_tag(tag)
        if self.shift_dates and keyword in _SHIFTED and not dummy:
            _set(dataset, tag, vr, [_earlier(part, vr, told.days) for part in _parts(dataset, tag)])
        elif vr == "UI" and action != "X":
            _set(dataset, tag, vr, [self.uid(part) for part in _parts(dataset, tag)])
        elif action == "X":
            del dataset[tag]
        elif action in ("Z", "X/Z"):
            _set(dataset, tag, vr, [])
        elif action is not None or vr in _DUMMIES:
            if dummy or action is not None or not _is_kept(_parts(dataset, tag), keyword, told.words):
                _replace(dataset, tag, vr)
        elif keyword == "ImageType":
            _set(dataset, tag, vr, [_code_or_dummy(part, told.words) for part in _parts(dataset, tag)])
        elif not _harmless(dataset, tag, vr, told.words):
            del dataset[tag]

    def _safe_private(self, dataset: Dataset) -> set[int]:
        """Tags of known elements whose creators own their blocks, and of these creators."""
        kept: set[int] = set()
        for tag, _, creator in PRIVATE.values():
            block = (tag & 0xFFFF0000) | ((tag & 0xFFFF) >> 8)
            owner = dataset.get(block)
            if tag in dataset and owner is not None and str(owner.value).strip().upper() == creator.upper():
                number = str(dataset[tag].value)
                if re.fullmatch(r"[0-9+\-.eE ,\[\]]*", number):
                    kept |= {tag, block}
        return kept


def _digest(key: bytes, *parts: str) -> bytes:
    return hmac.new(key, json.dumps(parts).encode(), hashlib.sha256).digest()


def _patient(dataset: Dataset) -> tuple[str, str]:
    number = str(dataset.get("PatientID") or "").strip()
    if number:
        return number, str(dataset.get("IssuerOfPatientID") or "").strip()
    return "", str(dataset.get("StudyInstanceUID") or "")


def _never(tag: BaseTag) -> bool:
    """Private elements, group lengths, curves, overlays, commands, the file's own header, display, and the unknown."""
    repeating = any(first <= tag.group <= last for first, last in _REPEATING)
    unknown = not dictionary_has_tag(tag) or keyword_for_tag(tag) in _DISPLAY
    return tag.is_private or tag.element == 0 or tag.group < 8 or repeating or unknown


def _value_representation(dataset: Dataset, tag: BaseTag) -> str | None:
    """As the file says it; ``None`` where the standard knows no such, and words may stand for numbers."""
    raw = dataset.get_item(tag)
    stated = None if raw is None or raw.VR in (None, "UN") else str(raw.VR)
    vr = stated or str(dataset[tag].VR)
    known = dictionary_VR(tag)  # of several where only pixels tell
    return known.split(" or ")[0] if vr == known else vr if vr in known.split(" or ") else None


def _parts(dataset: Dataset, tag: BaseTag) -> list[str]:
    value = dataset[tag].value
    several = value if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]
    return [str(part) for part in several if part not in (None, "")]


def _set(dataset: Dataset, tag: BaseTag, vr: str, parts: list[Any]) -> None:
    dataset[tag] = DataElement(tag, vr, parts[0] if len(parts) == 1 else parts or None)


def _replace(dataset: Dataset, tag: BaseTag, vr: str) -> None:
    """By a dummy, where there is a value; by nothing where a kind of value has no dummy that says nothing."""
    empty = dataset[tag].value in (None, "", b"")
    _set(dataset, tag, vr, [] if empty or vr not in _DUMMIES else [_DUMMIES[vr]])


def _is_kept(parts: list[str], keyword: str, words: frozenset[str]) -> bool:
    return keyword in KEPT_WORDS and all(
        is_plain(keyword, part.strip(" \0")) and not names_someone(part, words) for part in parts
    )


def _code_or_dummy(part: str, words: frozenset[str]) -> str:
    code = part.strip(" \0")
    return code if not code or (is_code("ImageType", code) and not names_someone(code, words)) else _NOBODY


def _harmless(dataset: Dataset, tag: BaseTag, vr: str, words: frozenset[str]) -> bool:
    """Whether a value is a number, a word of a list, or an array, as its kind asks for."""
    keyword = keyword_for_tag(tag)
    if keyword in _KEPT_ARRAYS or vr in _NUMBERS or vr in _ARRAYS:
        return True
    raw = dataset.get_item(tag)
    value = None if raw is None else raw.value
    text = value.decode("latin-1") if isinstance(value, bytes) else "\\".join(_parts(dataset, tag))
    if vr in ("DS", "IS"):
        return _DIGITS.fullmatch(text) is not None
    codes = [part.strip(" \0") for part in text.split("\\")]
    return vr == "CS" and all(
        not code or (is_code(keyword, code) and not names_someone(code, words)) for code in codes
    )


def _clean_local_code(dataset: Dataset) -> None:
    """Take the words of a code whose scheme is not a common one, or is not said."""
    scheme = str(dataset.get("CodingSchemeDesignator") or "").strip()
    if scheme in COMMON_SCHEMES:
        return
    if scheme:
        dataset.CodingSchemeDesignator = _LOCAL
    for name in ("CodeValue", "LongCodeValue", "CodeMeaning", "CodingSchemeVersion"):
        if dataset.get(name):
            dataset[name].value = _NOBODY


def _earlier(text: str, vr: str, days: int) -> str:
    """A date or a moment so many days before; a time as it is; what is none of these becomes a dummy."""
    if vr == "TM":
        return text if re.fullmatch(r"[0-9]{2,6}(\.[0-9]{1,6})? *", text) else str(_DUMMIES[vr])
    found = re.fullmatch(r"([0-9]{8})([0-9]{0,6}(\.[0-9]{1,6})?([+-][0-9]{4})?) *", text)
    try:
        if found is None or (vr == "DA" and found[2]):
            raise ValueError(text)
        moved = datetime.strptime(found[1], "%Y%m%d") - timedelta(days=days)
    except (ValueError, OverflowError):
        return str(_DUMMIES[vr])
    return f"{moved:%Y%m%d}{found[2]}" if moved.year >= 1000 else str(_DUMMIES[vr])
