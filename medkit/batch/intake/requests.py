"""What an archive is asked for: studies by their UID, by accession number, or by what they are like."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Request", "filter_request", "read_accessions", "read_studies"]

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_ACCESSION = re.compile(r"[^\\*?\x00-\x1f]{1,16}")  # of the VR SH, without what would ask for more than one


@dataclass(frozen=True)
class Request:
    """Something to ask an archive for. It may hold numbers of patients: it is not logged.

    Args:
        study_uid: a study; empty where it has to be searched for.
        filters: see :meth:`medkit.dicom.network.archive.Archive.find`.
        lasting: asked again and again, for studies that come, and for those that get more instances.
    """

    study_uid: str = ""
    filters: Mapping[str, str] = field(default_factory=dict)
    lasting: bool = False

    @property
    def key(self) -> str:
        """SHA-256 by which it is remembered."""
        text = json.dumps([self.study_uid, dict(sorted(self.filters.items()))])
        return hashlib.sha256(text.encode()).hexdigest()


def read_studies(path: Path) -> list[Request]:
    """A request for each line of a file with Study Instance UIDs; empty lines and those after ``#`` are left out.

    Raises:
        UsageError: the file cannot be read, has none, or a line is no UID.
    """
    return [Request(study_uid=uid) for uid in _lines(path, _UID, 64, "a Study Instance UID")]


def read_accessions(path: Path) -> list[Request]:
    """A request for each line of a file with accession numbers; raises what :func:`read_studies` does."""
    numbers = _lines(path, _ACCESSION, 16, "an accession number without wildcards")
    return [Request(filters={"AccessionNumber": number}) for number in numbers]


def filter_request(filters: Mapping[str, str]) -> Request:
    """A lasting request for all studies that are like this.

    Raises:
        UsageError: nothing is asked, which would be everything.
    """
    asked = {key: value for key, value in filters.items() if value.strip(" *")}
    if not asked:
        raise UsageError(
            "expected a filter, such as ModalitiesInStudy=CT, got none: it would be the whole archive"
        )
    return Request(filters=asked, lasting=True)


def _lines(path: Path, form: re.Pattern[str], longest: int, what: str) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: expected a text file, got none that can be read ({error})") from error
    found: dict[str, None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        value = line.partition("#")[0].strip()
        if not value:
            continue
        if not form.fullmatch(value) or len(value) > longest:
            raise UsageError(f"{path}: line {number}: expected {what}, got something else; correct the line")
        found[value] = None
    if not found:
        raise UsageError(f"{path}: expected {what} a line, got none")
    return list(found)
