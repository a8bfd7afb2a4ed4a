"""Find the files of a folder, a zip or a list, and open them."""

from __future__ import annotations

import errno
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, BinaryIO, cast

from medkit.dicom.findings import Finding
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import ExitStack

    from medkit.dicom.limits import Limits

__all__ = ["SourceFile", "find_sources", "is_empty"]

_ZIP_MARKS, _DICOM_MARK, _PREAMBLE = (b"PK\x03\x04", b"PK\x05\x06"), b"DICM", 128
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
        problem: why it cannot be opened, where that is known.
    """

    path: Path
    shown: str
    size: int
    member: str | None = None
    archive: zipfile.ZipFile | None = None
    problem: str = ""

    @property
    def name(self) -> str:
        """Without its folder."""
        return self.path.name if self.member is None else PurePath(self.member).name

    def open(self) -> BinaryIO:
        """A stream of bytes that can seek. A zip's member is unpacked as it is read, never written."""
        if self.problem:
            raise OSError(errno.EIO, self.problem)
        if self.archive is None or self.member is None:
            return self.path.open("rb")
        return cast("BinaryIO", self.archive.open(self.member))


def is_empty(path: Path) -> bool:
    """Whether a folder was listed, and nothing lies below it that is looked at; links to folders are not."""
    return path.is_dir() and not any(True for _ in _files_below(path))


def find_sources(
    asked: Path | Sequence[Path], limits: Limits, stack: ExitStack
) -> tuple[list[SourceFile], list[Finding]]:
    """All files below, by name, with refusals of zips that may not be opened.

    A folder that may not be listed and a link to nothing are files that cannot be opened: slices may be there.

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
        for file, problem in _files_below(path):
            shown = str(file.relative_to(path)) if path.is_dir() else file.name
            if problem:
                found.append(SourceFile(file, shown, 0, problem=problem))
            elif _is_zip(file):
                members, refusal = _members(file, shown, limits, stack)
                found += members
                refusals += [refusal] if refusal else []
            else:
                found.append(SourceFile(file, shown, file.stat().st_size))
    return found, refusals


def _files_below(path: Path) -> Iterator[tuple[Path, str]]:
    """Files, and why one cannot be opened; what is neither a file nor a link (a pipe, a socket) is none."""
    if not path.is_dir():
        yield path, ""
        return
    unlisted: list[OSError] = []
    for folder, folders, names in os.walk(path, onerror=unlisted.append):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            if file.is_file():
                yield file, ""
            elif file.is_symlink():
                yield file, "a link to nothing"
    for error in unlisted:
        yield Path(error.filename), f"a folder that cannot be listed ({error.strerror})"


def _is_zip(file: Path) -> bool:
    """By its beginning or its name: the mark at a zip's end may stand in anybody's pixels."""
    try:
        with file.open("rb") as stream:
            start = stream.read(_PREAMBLE + len(_DICOM_MARK))
    except OSError:
        return False  # said where it is read
    if start[_PREAMBLE:] == _DICOM_MARK or start.startswith(_DICOM_MARK):
        return False
    return start.startswith(_ZIP_MARKS) or file.suffix.lower() == ".zip"


def _members(
    path: Path, shown: str, limits: Limits, stack: ExitStack
) -> tuple[list[SourceFile], Finding | None]:
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        return [], Finding("zip-unreadable", f"{shown}: expected a whole zip, got {error}; copy it again")
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if problem := _zip_problem(entries, path.stat().st_size, limits):
        return [], Finding("zip-unsafe", f"{shown}: {problem}; unpack it by hand if you trust it")
    return [
        SourceFile(path, f"{shown}:{entry.filename}", entry.file_size, entry.filename, archive)
        for entry in sorted(entries, key=lambda entry: entry.filename)
    ], None


def _zip_problem(entries: list[zipfile.ZipInfo], size: int, limits: Limits) -> str | None:
    if len(entries) > limits.members:
        return f"expected at most {limits.members} members, got {len(entries)}"
    if (total := sum(entry.file_size for entry in entries)) > limits.zip_bytes:
        return f"expected at most {limits.zip_bytes} bytes unpacked, got {total}"
    if total > max(
        size * limits.growth, limits.growth_free_bytes
    ):  # of members that lie over each other, say
        return f"expected members that together grow by {limits.growth} at most, got {total} bytes of {size}"
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
