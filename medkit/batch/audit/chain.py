"""The lines of an audit log, only read: where they end, and whether each follows the one before."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medkit.errors import MedkitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["AuditError", "Chain", "Head", "Place", "Verification", "head_of", "numbered"]

_START = "0" * 64
_TAIL = 1 << 16
_LINES_A_TURN, _BREATH_SECONDS = 50, 1e-4  # to look at lines lets no other thread have its turn before


class AuditError(MedkitError):
    """A line that must not stand in the log, or a log that cannot be gone on with."""


@dataclass(frozen=True)
class Head:
    """The end of a chain: how many lines there are, and the hash of the last."""

    number: int = 0
    sha256: str = _START


@dataclass(frozen=True)
class Verification:
    """What :meth:`AuditLog.verify` found.

    Args:
        head: the last line up to which the chain holds.
        broken: file, line and what is wrong with the first that breaks it; ``None`` where all hold.
    """

    head: Head
    broken: str | None


@dataclass(frozen=True)
class Place:
    """How far a log was gone through.

    Args:
        head: of the last line.
        file: in which it stands; before all of them where there is none.
        line: its number there.
        end: byte behind it.
    """

    head: Head
    file: Path | None = None
    line: int = 0
    end: int = 0


class Chain:
    """The files of a log, in the order of their lines.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def files(self) -> list[Path]:
        """One a day."""
        return sorted(self._folder.glob("audit-*.jsonl"))

    def ending(self) -> tuple[Path | None, Head, bytes]:
        """The last file in which something stands, the end of the chain, and what was torn behind it.

        Raises:
            AuditError: the last whole line is no line of a log.
        """
        for path in reversed(self.files()):
            whole, torn = _ending(path)
            if torn or whole:
                return path, _head(path, whole) if whole else self._head_before(path), torn
        return None, Head(), b""

    def stands(self, place: Place) -> bool:
        """Whether the last line up to a place is still where it was."""
        if place.file is None or not place.file.is_file():
            return False
        length = min(place.end, _TAIL)
        with place.file.open("rb") as file:
            file.seek(place.end - length)
            before = file.read(length)
        line = before.removesuffix(b"\n").rpartition(b"\n")[2]
        return len(before) == length and _sha256(line) == place.head.sha256

    def follow(self, since: Place, heads: Iterable[Head]) -> tuple[Verification, Place]:
        """What is found behind a place, and how far it held.

        Args:
            since: the place.
            heads: what the chain must have, whether kept elsewhere or seen before.
        """
        place, due = since, dict[int, set[str]]()
        for one in heads:
            due.setdefault(one.number, set()).add(one.sha256)
        for path, number, end, line in self.lines(since):
            where, head = f"{path.name}, line {number}", head_of(line, place.head.number + 1)
            if fault := _fault(line, place.head):
                return Verification(place.head, f"{where}: {fault}"), place
            if due.pop(head.number, {head.sha256}) != {head.sha256}:
                what = "expected another line here, as its hash was kept"
                return Verification(place.head, f"{where}: {what}"), place
            place = Place(head, path, number, end)
        if left := [number for number in due if number > since.head.number]:
            what = f"expected at least {max(left)} lines, got {place.head.number}; the end is gone"
            return Verification(place.head, what), place
        return Verification(place.head, None), place

    def lines(self, since: Place) -> Iterator[tuple[Path, int, int, bytes]]:
        """File, number, end in bytes and text of each line behind a place."""
        for path in self.files():
            if since.file is not None and path < since.file:
                continue
            number, end = (since.line, since.end) if path == since.file else (0, 0)
            with path.open("rb") as file:
                file.seek(end)
                for line in file:
                    number, end = number + 1, end + len(line)
                    if number % _LINES_A_TURN == 0:  # or a node beside takes a quarter of what it can
                        time.sleep(_BREATH_SECONDS)
                    text = line.removesuffix(b"\n") if line.endswith(b"\n") else line + b"\0torn"
                    yield path, number, end, text

    def _head_before(self, path: Path) -> Head:
        for earlier in reversed([one for one in self.files() if one < path]):
            whole, _ = _ending(earlier)
            if whole:
                return _head(earlier, whole)
        return Head()


def head_of(line: bytes, number: int) -> Head:
    """The end of a chain whose last line is this one, of that number."""
    return Head(number, _sha256(line))


def _sha256(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _fault(line: bytes, head: Head) -> str | None:
    """What is wrong with a line that should follow a head."""
    if line.endswith(b"\0torn"):
        return "expected a whole line, got a torn one; the next append takes it out"
    try:
        number, previous = numbered(line, "previous")
    except ValueError:
        return "expected a JSON object with 'number' and 'previous', got something else"
    if number != head.number + 1:
        return f"expected number {head.number + 1}, got {number}"
    if previous != head.sha256:
        return "expected the hash of the line before; that line was changed, or lines are missing"
    return None


def numbered(content: bytes, key: str) -> tuple[int, str]:
    """Number and a hash of a JSON object; a ValueError says that it is none, for who changed it could write anything."""
    try:
        entry = json.loads(content)
        number, sha256 = entry["number"], entry[key]
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError(type(error).__name__) from error
    if type(number) is not int or not isinstance(sha256, str):
        raise ValueError(f"expected a whole number and a hash, got {type(number)} and {type(sha256)}")
    return number, sha256


def _ending(path: Path) -> tuple[bytes, bytes]:
    """The last whole line of a file, and what stands after it; either may be empty."""
    size, tail = path.stat().st_size, _TAIL
    while True:
        with path.open("rb") as file:
            file.seek(max(size - tail, 0))
            lines = file.read().split(b"\n")
        if len(lines) > 2 or tail >= size:
            return (lines[-2] if len(lines) > 1 else b""), lines[-1]
        tail *= 16


def _head(path: Path, line: bytes) -> Head:
    try:
        number, _ = numbered(line, "previous")
    except ValueError as error:
        raise AuditError(
            f"{path}: expected a line of an audit log at its end, got something else; move its folder away, "
            "and keep it: a new log begins then"
        ) from error
    return head_of(line, number)
