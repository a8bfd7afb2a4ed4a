"""What an archive is asked for, whatever protocol it speaks, and the two ways in which it fails to answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Protocol, TypeAlias

from medkit.errors import MedkitError

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

__all__ = [
    "DOWN",
    "NOT_ALLOWED",
    "OF_ALL",
    "TLS_FAILED",
    "Archive",
    "ArchiveDown",
    "ArchiveRefused",
    "StudyMatch",
    "TakeInstance",
]

DOWN, TLS_FAILED, NOT_ALLOWED = "archive-down", "tls-failed", "not-allowed"

OF_ALL = frozenset(["association-rejected", NOT_ALLOWED, "not-offered", "redirected"])
"""Codes of refusals of whoever comes, and not of one study or object."""

TakeInstance: TypeAlias = Callable[[str, str, IO[bytes]], None]
"""Called with Study Instance UID, SOP Instance UID, and the file's bytes (PS3.10), which are gone when it returns."""


class ArchiveDown(MedkitError):
    """The archive does not answer, or not now: a later call may go well, and this one says nothing about the study.

    Args:
        message: one line for a person, without names, numbers or UIDs of patients and studies.
        code: ``archive-down``, which time alone may mend, or what a person has to: ``tls-failed`` where there is no TLS
            that both sides trust, or what else a destination says.
    """

    def __init__(self, message: str, code: str = DOWN) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type[ArchiveDown], tuple[str, str]]:
        # Exceptions pickle by their arguments, and a worker process hands its errors over pickled.
        return type(self), (str(self), self.code)


class ArchiveRefused(MedkitError):
    """The archive answered no, or something that cannot be right; the same call again would end the same way.

    Args:
        code: short machine-readable reason, in kebab case, such as ``retrieve-incomplete``.
        message: one line for a person, without names, numbers or UIDs of patients and studies.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type[ArchiveRefused], tuple[str, str]]:
        # Exceptions pickle by their arguments, and a worker process hands its errors over pickled.
        return type(self), (self.code, str(self))


@dataclass(frozen=True)
class StudyMatch:
    """A study that was found.

    Args:
        study_uid: Study Instance UID.
        series: Series Instance UID to the number of its instances; ``None`` where the archive was not asked, or does
            not tell.
        instances: of the study; ``None`` where the archive does not tell.
    """

    study_uid: str
    series: Mapping[str, int] | None = None
    instances: int | None = None


class Archive(Protocol):
    """Where studies come from and results go to; every method may raise both failures above."""

    @property
    def name(self) -> str:
        """How messages and records call it; no password or token is in it."""
        ...

    def echo(self) -> None:
        """Ask whether the archive is there and lets us in."""
        ...

    def find(self, filters: Mapping[str, str]) -> list[StudyMatch]:
        """Studies that fit.

        Args:
            filters: keyword of an attribute of studies to a value, a list of UIDs with backslashes, a range
                (``StudyDate: 20260101-20260131``) or a text with wildcards (PS3.4, C.2.2.2).
        """
        ...

    def counts(self, study_uid: str) -> dict[str, int]:
        """Series Instance UID to the number of instances that the archive has; nothing for an unknown study."""
        ...

    def retrieve(self, study_uid: str, take: TakeInstance) -> int:
        """Fetch all instances of a study, as they are stored, and give them away one by one.

        Args:
            study_uid: Study Instance UID.
            take: what it raises ends the transfer, and comes through.

        Returns:
            How many were taken. A transfer that the archive itself calls incomplete is refused
            (``retrieve-incomplete``); what was taken before stays taken.
        """
        ...

    def send(self, paths: Sequence[Path]) -> dict[str, str | None]:
        """Store objects.

        Args:
            paths: DICOM files (PS3.10).

        Returns:
            SOP Instance UID to ``None`` where the archive took the object, else why it did not. That it took an object
            does not say that it kept it as it was: :meth:`read_back` shows that.
        """
        ...

    def read_back(self, study_uid: str, series_uid: str, sop_uid: str) -> Dataset | None:
        """One object as the archive gives it out, with its file meta information; ``None`` where it has none."""
        ...
