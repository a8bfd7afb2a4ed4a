"""Names of volumes and what tells them apart, without a word that a person typed and without a date."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["shown_keys", "tells_nothing_of_a_person", "volume_name"]

_NAME_LENGTH, _PART_LENGTH = 120, 40
# That tell volumes apart, and are UIDs.
_LONG_KEYS = {"class", "frame-of-reference"}
_TIMES = {"acquisition-date-time", "acquisition-time", "content-time"}
# Words of the standard, of a scanner's own list, or of medkit.
_CODED = {
    *("class", "component", "directionality", "dose-type", "dose-units", "frame-of-reference", "image-type"),
    *("kernel", "matrix", "modality", "plane", "rescale-type", "scan-options", "spacing", "units"),
}
# Words of the standard, which has no others for these keys (PS3.3 C.8.3.1 and C.7.3.1.1.2).
_WORDS = {
    "scanning-sequence": {"SE", "IR", "GR", "EP", "RM"},
    "patient-position": {
        *("HFP", "HFS", "HFDR", "HFDL", "FFP", "FFS", "FFDR", "FFDL"),
        *("LFP", "LFS", "RFP", "RFS", "AFDR", "AFDL", "PFDR", "PFDL"),
    },
}
# Numbers of fewer digits before the point than a date has, one or several.
_NUMBER = r"[+-]?[0-9]{0,7}(\.[0-9]*)?([eE](-[0-9]{1,2}|\+?0?[0-7]))?"
_NUMBERS = re.compile(rf"{_NUMBER}(\\{_NUMBER})*")


def tells_nothing_of_a_person(key: str, value: str) -> bool:
    """Whether a value can be shown: a coded word or a number, and no time."""
    if key in _WORDS:
        return _WORDS[key].issuperset(value.split("\\"))
    return key in _CODED or (key not in _TIMES and _NUMBERS.fullmatch(value) is not None)


def shown_keys(keys: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """What tells each volume of a series from the others, with an ordinal for each value of a key that is not shown.

    Args:
        keys: of each volume.

    Returns:
        The same keys; values of a key, in their order as text, are 1, 2, ... where one of them may not be shown.
    """
    values: dict[str, set[str]] = {}
    for found in keys:
        for key, value in found.items():
            values.setdefault(key, set()).add(value)
    ordinals = {
        key: {value: str(number) for number, value in enumerate(sorted(seen), 1)}
        for key, seen in values.items()
        if not all(tells_nothing_of_a_person(key, value) for value in seen)
    }
    return [{key: ordinals.get(key, {}).get(value, value) for key, value in found.items()} for found in keys]


def volume_name(number: int | None, keys: Mapping[str, str], taken: Iterable[str]) -> str:
    """A name that is safe as a file name, and that no other volume of the reading has.

    Args:
        number: of the series.
        keys: see :func:`shown_keys`.
        taken: names of the others, in lower case.
    """
    parts = ["series" if number is None else f"{number:03d}"]
    parts += [f"{key}-{value}" for key, value in keys.items() if key not in _LONG_KEYS]
    name = "_".join(_safe(part) for part in parts)[:_NAME_LENGTH]
    unique, count = name, 1
    while unique.lower() in taken:
        count += 1
        unique = f"{name}_{count}"
    return unique


def _safe(part: str) -> str:
    """Letters, digits and a few signs, which every file system takes; underscores part the parts."""
    return re.sub(r"[^A-Za-z0-9.+-]+|\.{2,}", "-", part).strip("-.")[:_PART_LENGTH]
