"""What an archive's answer to a query says, or that nobody can read it: an answer may hold anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medkit.dicom.network.archive import ArchiveRefused

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["number_in", "uid_in"]


def uid_in(answer: Dataset, keyword: str, archive: str) -> str:
    """A UID; empty where the answer has none.

    Args:
        answer: of a query.
        keyword: of the attribute.
        archive: name of the archive that answered.

    Raises:
        ArchiveRefused: ``answer-unreadable``: the attribute has several values, or cannot be read.
    """
    value = _value(answer, keyword, archive, "a UID") or ""
    if not isinstance(value, str):
        raise _unreadable(keyword, archive, "a UID")
    return value.strip(" \0")


def number_in(answer: Dataset, keyword: str, archive: str) -> int | None:
    """A whole number of 0 or more; ``None`` where the answer has none.

    Arguments and errors are those of :func:`uid_in`.
    """
    value = _value(answer, keyword, archive, "a number")
    if value is None or value == "":
        return None
    if not isinstance(value, int) or value < 0:
        raise _unreadable(keyword, archive, "a number")
    return int(value)


def _value(answer: Dataset, keyword: str, archive: str, expected: str) -> object:
    try:
        return answer.get(keyword)
    except Exception as error:  # whatever pydicom meets in what is no value
        raise _unreadable(keyword, archive, expected) from error


def _unreadable(keyword: str, archive: str, expected: str) -> ArchiveRefused:
    return ArchiveRefused(
        "answer-unreadable", f"{archive}: expected {expected} as {keyword} in an answer, got something else"
    )
