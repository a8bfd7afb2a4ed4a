"""An audit log that shows what was changed in it: JSON lines, each with the hash of the one before.

A file a day (UTC), ``audit-YYYY-MM-DD.jsonl``; the chain goes on from one to the next. A line is on disk when
:meth:`AuditLog.append` returns. A line that was torn by a crash, and so never counted, is taken out by the next append,
and told with its length and hash. :meth:`AuditLog.check` leaves the end that it saw in ``head.json`` beside the files: a
later look misses lines that were cut off. Whoever may write the files can write a whole chain anew: keep its
:class:`Head` from time to time where they cannot, and give it to :meth:`AuditLog.verify`.

No patient stands in it: a line has no keys but those of :data:`FIELDS`, and their values look as they say there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from medkit.batch.durable import sync_folder
from medkit.data.writing import write_text
from medkit.errors import MedkitError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

__all__ = ["FIELDS", "AuditError", "AuditLog", "Head", "Verification", "as_name"]

_HASH, _WORD = r"[0-9a-f]{64}", r"[a-z0-9]+(-[a-z0-9]+)*"
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,63}"
# What a line may say, and what it looks like; whole numbers and seconds have patterns of their text.
FIELDS: dict[str, re.Pattern[str]] = {
    key: re.compile(pattern)
    for key, pattern in {
        "study": _HASH,
        "instance": _HASH,
        "digest": _HASH,
        "recipe": _HASH,
        "revision": r"\d{1,9}",
        "attempt": r"\d{1,9}",
        "count": r"\d{1,12}",
        "bytes": r"\d{1,18}",
        "seconds": r"\d{1,9}(\.\d+)?",
        "code": _WORD,
        "before": _WORD,
        "after": _WORD,
        "uid": r"2\.25\.\d{1,39}",
        "ae_title": r"[ -\[\]-~]{1,16}",
        "address": r"[0-9A-Fa-f.:]{2,45}(%[A-Za-z0-9_.-]{1,15})?",
        "destination": _NAME,
        "rule": _NAME,
        "bundle": _NAME,
        "version": _NAME,
    }.items()
}
_START = "0" * 64
_TAIL = 1 << 16
_KEPT = "head.json"
_LINES_A_TURN, _BREATH_SECONDS = 50, 1e-4  # to look at lines lets no other thread have its turn before


def as_name(text: str) -> str:
    """A name of a program, person, bundle or version as the log takes it: with hyphens for all that it does not."""
    return re.sub(r"[^A-Za-z0-9_.:@-]", "-", text).lstrip("_.:@-")[:64] or "unnamed"


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
class _Place:
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


class AuditLog:
    """Append to a log and verify it; may be used by several processes of one machine.

    Args:
        folder: where its files lie; made where there is none.
        actor: who appends: a name without blanks.
        clock: seconds since 1970 (UTC).
    """

    def __init__(self, folder: Path, actor: str, clock: Callable[[], float] = time.time) -> None:
        if not re.fullmatch(_NAME, actor):
            raise AuditError(f"expected the name of a program or machine as actor, got {actor!r}")
        self.folder = folder
        self._actor = actor
        self._clock = clock
        self._make_folder()
        self._lock = FileLock(folder / ".lock")
        self._unwritten = False  # the last line that was to be written is not there
        self._seen, self._shorter = Head(), False
        self._looked: _Place | None = None

    @property
    def shorter(self) -> bool:
        """Whether lines are gone that this process saw, by the last look; :meth:`verify` says how many."""
        return self._shorter

    def append(self, event: str, **fields: str | int | float) -> Head:
        """Add a line.

        Args:
            event: what happened, in kebab case.
            fields: of :data:`FIELDS`.

        Returns:
            The chain's new end.

        Raises:
            AuditError: a key or value that the log does not take; or the last whole line is no line of a log.
        """
        _check_fields(event, fields)
        self._make_folder()
        with self._lock:
            head = self._followed(self._recovered_head())
            return self._followed(self._write(head, event, fields))

    def take_up(self) -> Head:
        """Prove that the log takes the next line: all is done but to write it, such as to take out one that was torn.

        Where the last line of this process could not be written, one is: ``taken-up``.

        Returns:
            The chain's end.

        Raises:
            AuditError: the last whole line is no line of a log, so that no other can follow.
            OSError: the folder or its last file cannot be written.
        """
        self._make_folder()
        with self._lock:
            head = self._followed(self._recovered_head())
            if self._unwritten:
                return self._followed(self._write(head, "taken-up", {}))
            os.close(self._open_last(self._now()))
            return head

    def end(self) -> Head:
        """The chain's end, only read; raises the AuditError of :meth:`take_up`."""
        _, head, _ = self._end()
        return head

    def check(self) -> Verification:
        """Take out a torn line, :meth:`verify`, and where all holds, leave the end for the next time.

        A log of a million lines, 350 MB, takes 10 seconds; other threads of the process go on meanwhile.
        """
        return self._keep_end(lambda: self._verify(_Place(Head())))

    def check_new(self) -> Verification:
        """:meth:`check` of the lines behind those of the last look of this object, of all where that found something.

        A change to lines that held then is found by the next look at all of them.
        """
        return self._keep_end(self._verify_new)

    def verify(self, after: Head | None = None, through: Collection[Head] = ()) -> Verification:
        """Go through the chain from its beginning; it must have the end that :meth:`check` left, and that this has seen.

        Args:
            after: where it begins, if earlier files were removed on purpose.
            through: heads that were kept elsewhere, which the chain must have.
        """
        found, _ = self._verify(_Place(after or Head()), through)
        return found

    def _keep_end(self, verify: Callable[[], tuple[Verification, _Place]]) -> Verification:
        """Take out a torn line, look, and where all holds, leave the end for the next time."""
        try:
            self.take_up()  # a line that was torn is none that was changed
        except AuditError:  # a last line that is none is what is found
            self._looked = None
        found, place = verify()
        self._looked = place if found.broken is None else None
        if found.broken is None:
            with self._lock:  # who has appended lets go of it when the line that was seen is on disk
                write_text(self.folder / _KEPT, json.dumps(asdict(found.head)))
        return found

    def _verify_new(self) -> tuple[Verification, _Place]:
        looked = self._looked
        if looked and not self._shorter and self._kept() == [looked.head] and _stands(looked):
            found, place = self._verify(looked)
            if found.broken is None:
                return found, place
        return self._verify(_Place(Head()))

    def _verify(self, since: _Place, through: Collection[Head] = ()) -> tuple[Verification, _Place]:
        """What is found behind a place, and how far it held."""
        kept = self._kept()
        place, head, due = since, since.head, dict[int, set[str]]()
        for one in (*(kept or ()), *through, self._seen):
            due.setdefault(one.number, set()).add(one.sha256)
        for path, number, end, line in self._lines(since):
            where = f"{path.name}, line {number}"
            if fault := _fault(line, head):
                return Verification(head, f"{where}: {fault}"), place
            head = Head(head.number + 1, hashlib.sha256(line).hexdigest())
            if due.pop(head.number, {head.sha256}) != {head.sha256}:
                what = "expected another line here, as its hash was kept"
                return Verification(head, f"{where}: {what}"), place
            place = _Place(head, path, number, end)
        if left := [number for number in due if number > since.head.number]:
            what = f"expected at least {max(left)} lines, got {head.number}; the end is gone"
            return Verification(head, what), place
        self._shorter = False
        if kept is None:
            what = f"{_KEPT}: expected the end that a check left, got something else"
            return Verification(head, what), place
        return Verification(head, None), place

    def _write(self, head: Head, event: str, fields: dict[str, Any]) -> Head:
        self._unwritten, now = True, self._now()
        entry = {
            "number": head.number + 1,
            "time": now.isoformat(timespec="milliseconds"),
            "actor": self._actor,
        }
        entry |= {"event": event, **fields, "previous": head.sha256}
        line = json.dumps(entry, separators=(",", ":")).encode()
        descriptor = self._open_last(now)
        try:
            _write_all(descriptor, line + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._unwritten = False
        return Head(head.number + 1, hashlib.sha256(line).hexdigest())

    def _open_last(self, now: datetime) -> int:
        # Where the clock was put back, the last file goes on: files stay in the order of their lines.
        path = max([self.folder / f"audit-{now:%Y-%m-%d}.jsonl", *self._files()])
        if not path.exists():
            path.touch(0o600)
            sync_folder(self.folder)
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _followed(self, head: Head) -> Head:
        """The same end; it is kept in mind how far the log went, and from then on where it became shorter."""
        same = head == self._seen or head.number > self._seen.number
        self._shorter = self._shorter or not same
        if not self._shorter:
            self._seen = head
        return head

    def _recovered_head(self) -> Head:
        """The end of the chain, after a torn last line was taken out and told."""
        path, head, torn = self._end()
        if path is None or not torn:
            return head
        os.truncate(path, path.stat().st_size - len(torn))
        told = {"torn_bytes": len(torn), "torn_sha256": hashlib.sha256(torn).hexdigest()}
        return self._write(head, "recovered", told)

    def _end(self) -> tuple[Path | None, Head, bytes]:
        """The last file in which something stands, the end of the chain, and what was torn behind it."""
        for path in reversed(self._files()):
            whole, torn = _ending(path)
            if torn or whole:
                return path, _head(path, whole) if whole else self._head_before(path), torn
        return None, Head(), b""

    def _head_before(self, path: Path) -> Head:
        for earlier in reversed([one for one in self._files() if one < path]):
            whole, _ = _ending(earlier)
            if whole:
                return _head(earlier, whole)
        return Head()

    def _kept(self) -> list[Head] | None:
        """What :meth:`check` left, if anything; ``None`` where something else stands there."""
        try:
            return [Head(*_numbered((self.folder / _KEPT).read_bytes(), "sha256"))]
        except FileNotFoundError:
            return []
        except ValueError:
            return None

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("audit-*.jsonl"))

    def _lines(self, since: _Place) -> Iterator[tuple[Path, int, int, bytes]]:
        """File, number, end in bytes and text of each line behind a place."""
        for path in self._files():
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


def _check_fields(event: str, fields: dict[str, Any]) -> None:
    if not re.fullmatch(_WORD, event):
        raise AuditError(f"expected an event in kebab case, got {event!r}")
    for key, value in fields.items():
        if key not in FIELDS:
            raise AuditError(
                f"'{event}': expected a key of the audit log, got '{key}'; it has: {', '.join(FIELDS)}"
            )
        if not FIELDS[key].fullmatch(str(value)):  # the value itself may be what must not be told
            raise AuditError(
                f"'{event}': expected '{key}' to look like {FIELDS[key].pattern}, got something else"
            )


def _fault(line: bytes, head: Head) -> str | None:
    """What is wrong with a line that should follow a head."""
    if line.endswith(b"\0torn"):
        return "expected a whole line, got a torn one; the next append takes it out"
    try:
        number, previous = _numbered(line, "previous")
    except ValueError:
        return "expected a JSON object with 'number' and 'previous', got something else"
    if number != head.number + 1:
        return f"expected number {head.number + 1}, got {number}"
    if previous != head.sha256:
        return "expected the hash of the line before; that line was changed, or lines are missing"
    return None


def _numbered(content: bytes, key: str) -> tuple[int, str]:
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
        number, _ = _numbered(line, "previous")
    except ValueError as error:
        raise AuditError(
            f"{path}: expected a line of an audit log at its end, got something else; move its folder away, "
            "and keep it: a new log begins then"
        ) from error
    return Head(number, hashlib.sha256(line).hexdigest())


def _stands(place: _Place) -> bool:
    """Whether the last line up to a place is still where it was."""
    if place.file is None or not place.file.is_file():
        return False
    length = min(place.end, _TAIL)
    with place.file.open("rb") as file:
        file.seek(place.end - length)
        before = file.read(length)
    line = before.removesuffix(b"\n").rpartition(b"\n")[2]
    return len(before) == length and hashlib.sha256(line).hexdigest() == place.head.sha256


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
