"""Take files with objects in them, and name what is missed where one is broken."""

from __future__ import annotations

import hashlib
from typing import IO, TYPE_CHECKING, cast

from medkit.errors import MedkitError

if TYPE_CHECKING:
    from pathlib import Path

    from medkit.batch.intake.take import Intake
    from medkit.batch.spool import Taken
    from medkit.dicom.objects import FoundObject
    from medkit.dicom.sources import SourceFile

__all__ = ["Unreadable", "owner_of", "place_of", "take_file"]


class Unreadable(MedkitError):
    """A source ended with an error while it was read: a disk, a share or a zip's check sum."""


class _Source:
    """A file whose errors are told from those of the disk that it is written to."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        try:
            return self._stream.read(size)
        except Exception as error:  # a zip's many kinds among them
            raise Unreadable(
                "expected a file that can be read to its end, got an error; copy it again"
            ) from error


def take_file(intake: Intake, found: FoundObject) -> Taken | None:
    """Take a file through the door; what it was there, see :meth:`medkit.batch.intake.take.Intake.take`.

    Raises:
        Unreadable: the file cannot be read.
        NotTaken, OSError, LedgerError: see :meth:`medkit.batch.intake.take.Intake.take`.
    """
    try:
        stream = found.source.open()
    except Exception as error:
        raise Unreadable("expected a file that can be opened, got an error; make it readable") from error
    with stream:
        return intake.take(found.uids.study, found.uids.instance, cast("IO[bytes]", _Source(stream)))


def place_of(source: SourceFile) -> str:
    """SHA-256 of where a file lies, by which a mark on a study names it without its name."""
    return hashlib.sha256(
        f"{source.path.absolute()}\0{source.member or ''}".encode(errors="surrogateescape")
    ).hexdigest()


def owner_of(kind: str, source: Path) -> str:
    """Who leaves marks for what lies in a folder, zip or file: a source of one kind at one place."""
    return (
        f"{kind}-{hashlib.sha256(str(source.absolute()).encode(errors='surrogateescape')).hexdigest()[:16]}"
    )
