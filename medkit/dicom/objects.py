"""Say which objects lie in a folder, a zip or a list of files, without their pixels."""

from __future__ import annotations

import struct
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medkit.dicom.findings import Finding
from medkit.dicom.instance import Instance
from medkit.dicom.limits import Limits
from medkit.dicom.opening import Broken, broken_beside, open_file
from medkit.dicom.result import OTHER_KINDS
from medkit.dicom.sources import SourceFile, find_sources
from medkit.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

__all__ = ["FoundObject", "FoundObjects", "ObjectUids", "find_objects", "read_uids"]

_ITEM, _DELIMITER = 0xE000, 0xE0DD  # elements of group 0xFFFE, see PS3.5 section 7.5


@dataclass(frozen=True)
class ObjectUids:
    """By which an object is known: Study, Series and SOP Instance UID. The series' may be empty in broken files."""

    study: str
    series: str
    instance: str


@dataclass(frozen=True)
class FoundObject:
    """A file with an object.

    Args:
        source: the file, or a member of a zip.
        uids: of the object.
        cut_short: the file ends before its pixels do.
    """

    source: SourceFile
    uids: ObjectUids
    cut_short: bool


@dataclass(frozen=True)
class FoundObjects:
    """What lies in a source.

    Args:
        objects: in the order of their names.
        broken: files that are no object and may be a missing part of a series.
        others: files of other kinds, which nobody misses, and zips that may not be opened, each with its reason.
    """

    objects: tuple[FoundObject, ...]
    broken: tuple[Broken, ...]
    others: tuple[Finding, ...]

    def broken_beside(self, objects: Iterable[FoundObject]) -> list[Broken]:
        """Files that may be missing parts of a study with these objects, by where they lie and how they are called."""
        return broken_beside((one.source for one in objects), self.broken)


@contextmanager
def find_objects(asked: Path | Sequence[Path], limits: Limits | None = None) -> Iterator[FoundObjects]:
    """Look at every file of a source; zips stay open within the block.

    Args:
        asked: a folder (with all below it), a zip, a file, or a list of these.
        limits: of headers and zips.

    Raises:
        UsageError: nothing there.
    """
    limits = limits or Limits()
    with ExitStack() as stack:
        files, others = find_sources(asked, limits, stack)
        objects, broken = [], []
        for file in files:
            found = _look(file, limits)
            if isinstance(found, FoundObject):
                objects.append(found)
            elif found.finding.code in OTHER_KINDS:
                others += [] if found.unheard else [found.finding]
            elif not found.unheard:
                broken.append(found)
        yield FoundObjects(tuple(objects), tuple(broken), tuple(others))


def read_uids(path: Path, limits: Limits | None = None) -> ObjectUids:
    """By which the object of one file is known.

    Raises:
        CaseError: it holds no object, or one without a Study or SOP Instance UID.
    """
    found = _look(
        SourceFile(path, path.name, path.stat().st_size if path.is_file() else 0), limits or Limits()
    )
    if isinstance(found, Broken):
        raise CaseError(found.finding.code, found.finding.message)
    return found.uids


def _look(file: SourceFile, limits: Limits) -> FoundObject | Broken:
    instance = open_file(file, limits)
    if isinstance(instance, Broken):
        return instance
    study, series = (instance.elements.text(f"{of}InstanceUID").strip() for of in ("Study", "Series"))
    uids = ObjectUids(study, series, instance.sop_instance_uid.strip())
    if not uids.study or not uids.instance:
        name = "SOPInstanceUID" if uids.study else "StudyInstanceUID"
        text = f"{file.shown}: expected a {name}, got none; nobody knows to what it belongs: export it again"
        return Broken(file, Finding("no-uid", text))
    return FoundObject(file, uids, _is_cut_short(instance))


def _is_cut_short(instance: Instance) -> bool:
    """A zip's members have a check sum, and deflated data sets an end of their own: these are left to the reader."""
    pixels, source = instance.pixels, instance.source
    if pixels is None or source.archive is not None or instance.deflated is not None:
        return False
    if pixels.length is not None:
        return pixels.offset + pixels.length > source.size
    with source.open() as file:
        place = pixels.offset
        while True:  # over the items up to their delimiter (PS3.5 annex A.4)
            file.seek(place)
            header = file.read(8)
            if len(header) < 8:
                return True
            group, element, length = struct.unpack("<HHI", header)
            if (group, element) != (0xFFFE, _ITEM):
                return (group, element) != (0xFFFE, _DELIMITER)
            place += 8 + length
