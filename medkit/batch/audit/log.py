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
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from medkit.batch.audit.chain import AuditError, Chain, Head, Place, Verification, head_of, numbered
from medkit.batch.durable import sync_folder
from medkit.data.writing import write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

__all__ = ["FIELDS", "AuditLog", "as_name"]

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
_KEPT = "head.json"


def as_name(text: str) -> str:
    """A name of a program, person, bundle or version as the log takes it: with hyphens for all that it does not."""
    return re.sub(r"[^A-Za-z0-9_.:@-]", "-", text).lstrip("_.:@-")[:64] or "unnamed"


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
        self._chain = Chain(folder)
        self._lock = FileLock(folder / ".lock")
        self._unwritten = False  # the last line that was to be written is not there
        self._seen, self._shorter = Head(), False
        self._looked: Place | None = None

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
        _, head, _ = self._chain.ending()
        return head

    def check(self) -> Verification:
        """Take out a torn line, :meth:`verify`, and where all holds, leave the end for the next time.

        A log of a million lines, 350 MB, takes 10 seconds; other threads of the process go on meanwhile.
        """
        return self._keep_end(lambda: self._verify(Place(Head())))

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
        found, _ = self._verify(Place(after or Head()), through)
        return found

    def _keep_end(self, verify: Callable[[], tuple[Verification, Place]]) -> Verification:
        """Take out a torn line, look, and where all holds, leave the end for the next time."""
        with suppress(AuditError):  # a last line that is none is what is found
            self.take_up()  # one that was torn is none that was changed
        found, place = verify()
        self._looked = place if found.broken is None else None
        if found.broken is None:
            with self._lock:  # who has appended lets go of it when the line that was seen is on disk
                write_text(self.folder / _KEPT, json.dumps(asdict(found.head)))
        return found

    def _verify_new(self) -> tuple[Verification, Place]:
        looked = self._looked
        if looked and not self._shorter and self._kept() == [looked.head] and self._chain.stands(looked):
            found, place = self._verify(looked)
            if found.broken is None:
                return found, place
        return self._verify(Place(Head()))

    def _verify(self, since: Place, through: Collection[Head] = ()) -> tuple[Verification, Place]:
        kept = self._kept()
        found, place = self._chain.follow(since, [*(kept or ()), *through, self._seen])
        if found.broken is None:
            self._shorter = False
            if kept is None:
                what = f"{_KEPT}: expected the end that a check left, got something else"
                found = Verification(found.head, what)
        return found, place

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
        return head_of(line, head.number + 1)

    def _open_last(self, now: datetime) -> int:
        # Where the clock was put back, the last file goes on: files stay in the order of their lines.
        path = max([self.folder / f"audit-{now:%Y-%m-%d}.jsonl", *self._chain.files()])
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
        path, head, torn = self._chain.ending()
        if path is None or not torn:
            return head
        os.truncate(path, path.stat().st_size - len(torn))
        told = {"torn_bytes": len(torn), "torn_sha256": hashlib.sha256(torn).hexdigest()}
        return self._write(head, "recovered", told)

    def _kept(self) -> list[Head] | None:
        """What :meth:`check` left, if anything; ``None`` where something else stands there."""
        try:
            return [Head(*numbered((self.folder / _KEPT).read_bytes(), "sha256"))]
        except FileNotFoundError:
            return []
        except ValueError:
            return None


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


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
