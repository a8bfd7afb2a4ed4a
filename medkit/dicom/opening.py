"""Open what was found: headers of DICOM files, and what is broken or of another kind, which may be a missing slice."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from medkit.dicom.findings import Finding, Refused, Repair
from medkit.dicom.instance import Instance, read_instance
from medkit.dicom.result import OTHER_KINDS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from medkit.dicom.limits import Limits
    from medkit.dicom.sources import SourceFile

__all__ = [
    "Broken",
    "broken_beside",
    "check_neighbours",
    "folder_of",
    "open_file",
    "row_of",
    "without_strangers",
]

_DICOM_SUFFIXES = {".dcm", ".dicom", ".ima"}


@dataclass(frozen=True)
class Broken:
    """A file that is no header that can be used, and why."""

    source: SourceFile
    finding: Finding

    @property
    def unheard(self) -> bool:
        """Whether it is a desktop's own: a hidden file that is no DICOM. Of these nobody wants to hear."""
        return self.source.name.startswith(".") and self.finding.code in {
            "not-dicom",
            "empty-file",
            "unreachable",
        }

    def may_be_of(self, places: Collection[tuple[tuple[str, str], str]]) -> bool:
        """Whether it may be a slice of a series with files at such places, see :func:`row_of`."""
        folder, shape = row_of(self.source)
        if (folder, shape) in places:
            return True
        plain = self.finding.code == "empty-file" and not _named_as_dicom(self.source)
        return not plain and self.finding.code not in OTHER_KINDS and folder in {place[0] for place in places}


def open_file(file: SourceFile, limits: Limits) -> Instance | Broken:
    """Read a header, or say why not."""
    try:
        return read_instance(file, limits)
    except Refused as refused:
        if refused.finding.code == "not-dicom" and _named_as_dicom(file):
            text = f"{file.shown}: expected a DICOM file as its name says, got another kind; fetch it again"
            return Broken(file, Finding("misnamed", text))
        return Broken(file, refused.finding)
    except OSError as error:
        text = f"{file.shown}: expected a file that can be opened, got {error.strerror or error}; make it readable"
        return Broken(file, Finding("unreachable", text))
    except Exception as error:  # a zip's checksum, a password
        text = f"{file.shown}: expected a file that can be read, got {error}; copy it again"
        return Broken(file, Finding("truncated", text))


def without_strangers(instances: Iterable[Instance]) -> tuple[list[Instance], list[Broken]]:
    """Take away files that name no series, where those beside them do: they may be slices of any of these."""
    found = list(instances)
    named = {folder_of(instance.source) for instance in found if _series(instance)}
    kept, strangers = [], []
    for instance in found:
        if _series(instance) or folder_of(instance.source) not in named:
            kept.append(instance)
            continue
        text = (
            f"{instance.source.shown}: expected a SeriesInstanceUID as the files beside it have, got none; "
            "find out to which series it belongs, or remove it"
        )
        strangers.append(Broken(instance.source, Finding("no-series-uid", text)))
    return kept, strangers


def broken_beside(sources: Iterable[SourceFile], broken: Iterable[Broken]) -> list[Broken]:
    """Broken files that may belong to what these files hold."""
    places = {row_of(source) for source in sources}
    return [found for found in broken if found.may_be_of(places)]


def check_neighbours(
    instances: Sequence[Instance], broken: Sequence[Broken], repairs: Collection[Repair]
) -> list[Finding]:
    """Refuse a series beside whose files there is a broken one that may be its own.

    Raises:
        Refused: ``broken-file``.

    Returns:
        What was left out on request.
    """
    beside = broken_beside((instance.source for instance in instances), broken)
    if not beside:
        return []
    message = (
        f"{beside[0].source.shown}: expected whole files beside those of a series, got {len(beside)} broken"
    )
    if Repair.DROP_BROKEN in repairs:
        return [Finding(Repair.DROP_BROKEN, f"{message}, left out as was asked for")]
    raise Refused(
        "broken-file",
        f"{message}, which may be slices of it; copy them again or ask for the repair drop-broken",
    )


def folder_of(source: SourceFile) -> tuple[str, str]:
    """The folder of a file; zip and folder in it, of a member."""
    if source.member is None:
        return str(source.path.parent), ""
    return str(source.path), str(PurePath(source.member).parent)


def row_of(source: SourceFile) -> tuple[tuple[str, str], str]:
    """Folder, and what the name has in common with those of a row of slices: ``IM0008`` is as ``IM0001``."""
    return folder_of(source), re.sub(r"[0-9]+", "0", source.name)


def _named_as_dicom(source: SourceFile) -> bool:
    return PurePath(source.name).suffix.lower() in _DICOM_SUFFIXES and not source.name.startswith(".")


def _series(instance: Instance) -> str:
    return instance.elements.text("SeriesInstanceUID")
