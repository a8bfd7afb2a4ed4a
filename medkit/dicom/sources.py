"""Find the files of a folder, a zip or a list, and open them."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from medkit.dicom.findings import Finding
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import ExitStack

    from medkit.dicom.limits import Limits

__all__ = ["SourceFile", "find_sources"]

# What is no image by its name, and stands beside images often.
_INDEX_NAMES = {"DICOMDIR"}
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class SourceFile:
    """A file, or a member of a zip.

    Args:
        path: the file or the zip.
        shown: how messages call it, relative to what was asked for.
        size: bytes, unpacked.
        member: name in the zip.
        archive: the open zip.
    """

    path: Path
    shown: str
    size: int
    member: str | None = None
    archive: zipfile.ZipFile | None = None

    def open(self) -> BinaryIO:
        """A stream of bytes that can seek. A zip's member is unpacked as it is read, never written."""
        if self.archive is None or self.member is None:
            return self.path.open("rb")
        return cast("BinaryIO", self.archive.open(self.member))


def find_sources(
    asked: Path | Sequence[Path], limits: Limits, stack: ExitStack
) -> tuple[list[SourceFile], list[Finding]]:
    """All files below, by name, with refusals of zips that may not be opened.

    Args:
        asked: a folder (with all below it, links to folders aside), a zip, a file, or a list of these.
        limits: for zips.
        stack: closes zips.

    Raises:
        UsageError: nothing there.
    """
    found: list[SourceFile] = []
    refusals: list[Finding] = []
    for path in [asked] if isinstance(asked, (str, Path)) else asked:
        path = Path(path)
        if not path.exists():
            raise UsageError(
                f"{path}: expected a folder, a zip or a DICOM file, got nothing there; check the path"
            )
        for file in _files_below(path):
            shown = str(file.relative_to(path)) if path.is_dir() else file.name
            if zipfile.is_zipfile(file):
                members, refusal = _members(file, shown, limits, stack)
                found += members
                refusals += [refusal] if refusal else []
            else:
                found.append(SourceFile(file, shown, file.stat().st_size))
    return found, refusals


def _files_below(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            if file.is_file() and name not in _INDEX_NAMES and not name.startswith("."):
                yield file


def _members(path: Path, shown: str, limits: Limits, stack: ExitStack) -> tuple[list[SourceFile], Finding | None]:
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        return [], Finding("zip-unreadable", f"{shown}: expected a whole zip, got {error}; copy it again")
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if problem := _zip_problem(entries, limits):
        return [], Finding("zip-unsafe", f"{shown}: {problem}; unpack it by hand if you trust it")
    entries = [entry for entry in entries if Path(entry.filename).name not in _INDEX_NAMES]
    return [
        SourceFile(path, f"{shown}:{entry.filename}", entry.file_size, entry.filename, archive)
        for entry in sorted(entries, key=lambda entry: entry.filename)
    ], None


def _zip_problem(entries: list[zipfile.ZipInfo], limits: Limits) -> str | None:
    if len(entries) > limits.members:
        return f"expected at most {limits.members} members, got {len(entries)}"
    if (total := sum(entry.file_size for entry in entries)) > limits.zip_bytes:
        return f"expected at most {limits.zip_bytes} bytes unpacked, got {total}"
    for entry in entries:
        free = max(entry.compress_size * limits.growth, limits.growth_free_bytes)
        if entry.file_size > free:
            return (
                f"expected members that grow by {limits.growth} at most, got {entry.filename!r} of "
                f"{entry.compress_size} bytes that becomes {entry.file_size}"
            )
        if entry.flag_bits & _ENCRYPTED:
            return f"expected members without a password, got {entry.filename!r} with one"
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        return "expected one member of each name, got several"
    return None
