"""Watch a folder: take each file once it rests, whole, and remember it by size and time of change.

A file is at rest when size and time of change were the same for a while, by our own clock: that of a share may go wrong,
and a moved file may be old. One that is at rest and cut short is looked at again as soon as it changes.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medkit.batch.identity import hash_uid
from medkit.batch.intake.files import Unreadable, owner_of, take_file
from medkit.batch.marks import BROKEN, LOW_DISK, Mark
from medkit.batch.spool import NotTaken
from medkit.dicom.findings import Finding
from medkit.dicom.objects import find_objects
from medkit.dicom.opening import Broken, row_of
from medkit.dicom.sources import SourceFile
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from medkit.batch.intake.memory import Memory
    from medkit.batch.intake.take import Intake
    from medkit.dicom.limits import Limits
    from medkit.dicom.objects import FoundObject, FoundObjects

__all__ = ["Polled", "WatchedFolder"]

_UNFINISHED = (".part", ".partial", ".tmp", ".filepart", ".crdownload")  # names that copying programs give
_TAKEN, _LEFT, _OTHER = "taken", "left", "other"
_TOGETHER = 200  # files that are opened before the first of them is taken

_Stamp = tuple[int, int]


@dataclass
class Polled:
    """What one look at the folder brought. Messages name files, and these may name patients: do not log them.

    Args:
        reachable: the folder could be listed, all of it.
        taken: instances.
        waiting: files that do not rest yet.
        no_room: the disk is nearly full; the rest is taken later.
        broken: files that are broken or cut short, each told once until it changes.
        others: files of other kinds, and zips that may not be opened; the same.
        left: instances beyond a limit of the spool.
        kept: files that should have been removed and could not.
    """

    reachable: bool = True
    taken: int = 0
    waiting: int = 0
    no_room: bool = False
    broken: list[Finding] = field(default_factory=list)
    others: list[Finding] = field(default_factory=list)
    left: int = 0
    kept: int = 0


@dataclass(frozen=True)
class _Resting:
    """A file that rests: where it is, what it was when it was looked at, and since when it is there."""

    path: Path
    stamp: _Stamp
    seen: float


class WatchedFolder:
    """Take what is put into a folder; studies are complete after a quiet time, which must be longer than the rest.

    Args:
        folder: with all folders below it. Hidden files, and names that copying programs give to what they have not
            finished (``.part``, ``.tmp`` and the like), are not looked at.
        intake: the door.
        memory: of what was taken.
        rest_seconds: for how long a file must not change.
        remove: remove what was taken; otherwise files stay.
        neighbour_seconds: a broken file may be a part of studies whose files appeared beside it within this time.
        limits: of headers and zips.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        folder: Path,
        intake: Intake,
        memory: Memory,
        rest_seconds: float = 10.0,
        *,
        remove: bool = False,
        neighbour_seconds: float = 600.0,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self._intake, self._memory, self._limits, self._clock = intake, memory, limits, clock
        self._rest, self._remove, self._near = rest_seconds, remove, neighbour_seconds
        self._owner = owner_of("watch", folder)
        self._moving: dict[str, tuple[_Stamp, float, float]] = {}  # stamp, since when, first seen

    def poll(self) -> Polled:
        """Look at the folder once.

        Raises:
            OSError, LedgerError: see :meth:`medkit.batch.intake.take.Intake.take`; look again later.
        """
        polled, now = Polled(), self._clock()
        present = self._scan(polled)
        resting = self._resting(present, now, polled)
        for first in range(0, len(resting), _TOGETHER):
            if polled.no_room:
                break
            self._take_some(resting[first : first + _TOGETHER], polled)
        self._mark_neighbours(present)
        self._hold(present)
        if polled.reachable and present:  # or nothing may be there because a share is not
            self._forget(present, now)
        return polled

    def _scan(self, polled: Polled) -> dict[Path, _Stamp]:
        """Files with size and time of change."""
        unlisted: list[OSError] = []
        found: dict[Path, _Stamp] = {}
        for folder, folders, names in os.walk(self.folder, onerror=unlisted.append):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if name.startswith(".") or name.lower().endswith(_UNFINISHED):
                    continue
                path = Path(folder, name)
                try:
                    status = path.stat()
                except OSError:
                    continue  # it was moved away, or is a link to nothing
                if path.is_file():
                    found[path] = (status.st_size, status.st_mtime_ns)
        polled.reachable = not unlisted
        return found

    def _resting(self, present: dict[Path, _Stamp], now: float, polled: Polled) -> list[_Resting]:
        moving: dict[str, tuple[_Stamp, float, float]] = {}
        found = []
        for path, stamp in present.items():
            key = _key(path)
            entry = self._memory.get(key)
            if entry is not None and entry["stamp"] == list(stamp):
                continue
            before, since, first = self._moving.get(key, (None, now, now))
            if before != stamp:
                since = now
            moving[key] = (stamp, since, first)
            if before == stamp and now - since >= self._rest:
                found.append(_Resting(path, stamp, first))
            else:
                polled.waiting += 1
        self._moving = moving
        return found

    def _take_some(self, resting: list[_Resting], polled: Polled) -> None:
        there = [file for file in resting if file.path.exists()]
        with ExitStack() as stack:
            try:
                found = stack.enter_context(find_objects([file.path for file in there], self._limits))
            except UsageError:
                return  # one was moved away at this moment: the next look finds the others
            polled.others += found.others
            objects: dict[Path, list[FoundObject]] = {}
            for one in found.objects:
                objects.setdefault(one.source.path, []).append(one)
            for file in there:
                if not polled.no_room:
                    self._take_file(file, objects.get(file.path, []), found, polled)

    def _take_file(
        self, file: _Resting, objects: list[FoundObject], found: FoundObjects, polled: Polled
    ) -> None:
        """Take what a file or a zip holds."""
        broken = [one.finding for one in found.broken if one.source.path == file.path]
        studies = {hash_uid(one.uids.study) for one in objects}
        outcome, damaged = _TAKEN if objects else _OTHER, studies if broken else set()
        for one in objects:
            study = hash_uid(one.uids.study)
            try:
                if one.cut_short:
                    raise Unreadable(
                        "expected pixels up to their end, got a file that ends before; copy it again"
                    )
                take_file(self._intake, one)
                polled.taken += 1
            except Unreadable as error:
                broken.append(Finding(BROKEN, f"{one.source.shown}: {error}"))
                damaged = {*damaged, study}
            except NotTaken as refusal:
                if refusal.code == LOW_DISK:
                    polled.no_room = True
                    return  # nothing is remembered of the file: it comes again
                outcome = _LEFT
                polled.left += 1
        if broken:
            outcome = BROKEN
            polled.broken += broken
        self._remember(file, outcome, studies, damaged, broken)
        whole = not any(one.message.startswith(f"{file.path.name}:") for one in found.others)
        if outcome == _TAKEN and self._remove and whole:
            self._remove_file(file, polled)

    def _remember(
        self, file: _Resting, outcome: str, studies: set[str], damaged: set[str], broken: list[Finding]
    ) -> None:
        key = _key(file.path)
        marked = set((self._memory.get(key) or {}).get("marked", ()))
        folder, shape = row_of(SourceFile(file.path, file.path.name, 0))
        entry: dict[str, Any] = {"stamp": list(file.stamp), "seen": file.seen, "outcome": outcome}
        entry |= {"studies": sorted(studies), "folder": _hash(*folder), "shape": _hash(shape)}
        if broken:  # what was marked before stays so until the file is whole
            entry |= {"code": broken[0].code, "marked": sorted(damaged | marked), "known": bool(damaged)}
        if not broken:
            self._unmark(key, marked)
        self._memory.put(key, entry)  # before the marks: those that nobody remembers would stay for ever
        for study in entry.get("marked", ()):
            self._mark(study, key)

    def _remove_file(self, file: _Resting, polled: Polled) -> None:
        """Remove what was taken, if it is still that."""
        try:
            status = file.path.stat()
            if (status.st_size, status.st_mtime_ns) == file.stamp:
                file.path.unlink()
        except OSError:
            polled.kept += 1

    def _mark_neighbours(self, present: dict[Path, _Stamp]) -> None:
        """Mark studies beside whose files, and at whose time, there is a broken one that says not whose it is."""
        entries = self._memory.items()
        broken = {key: entry for key, entry in entries if entry["outcome"] == BROKEN and not entry["known"]}
        for path in present if broken else ():
            entry = broken.get(_key(path))
            if entry is None:
                continue
            for study in self._neighbours(path, entry, entries):
                if study not in entry["marked"]:
                    entry = entry | {"marked": sorted({*entry["marked"], study})}
                    self._memory.put(_key(path), entry)
                self._mark(study, _key(path))

    def _hold(self, present: dict[Path, _Stamp]) -> None:
        """Let studies wait in whose folder, and at whose time, a file is still being written."""
        waiting = [
            (_folder_of(path), self._moving[_key(path)][2]) for path in present if _key(path) in self._moving
        ]
        arriving = {one.study for one in self._intake.ledger.arrivals()} if waiting else set()
        held: set[str] = set()
        for _, entry in self._memory.items() if arriving else ():
            if any(
                entry["folder"] == at and abs(entry["seen"] - first) <= self._near for at, first in waiting
            ):
                held.update(entry["studies"])
        for study in sorted(held & arriving):
            self._intake.ledger.receive(study)

    def _neighbours(
        self, path: Path, entry: dict[str, Any], others: list[tuple[str, dict[str, Any]]]
    ) -> set[str]:
        """Studies to which a broken file may belong; their files may have been removed since."""
        source = SourceFile(path, path.name, 0)
        broken, (folder, shape) = Broken(source, Finding(entry["code"], "")), row_of(source)
        found: set[str] = set()
        for _, other in others:
            near = abs(other["seen"] - entry["seen"]) <= self._near and other["folder"] == entry["folder"]
            same = shape if other["shape"] == entry["shape"] else ""
            if near and other is not entry and broken.may_be_of({(folder, same)}):
                found.update(other["studies"])
        return found

    def _forget(self, present: dict[Path, _Stamp], now: float) -> None:
        """Forget files that are gone; a study may have waited for one that a person took away."""
        keys = {_key(path) for path in present}
        for key, entry in self._memory.items():
            if key in keys:
                continue
            if entry["outcome"] == _TAKEN and now - entry["seen"] <= 2 * self._near:
                if entry["stamp"]:
                    self._memory.put(key, entry | {"stamp": []})  # a broken file may come beside it yet
                continue
            self._unmark(key, entry.get("marked", ()))
            self._memory.drop(key)

    def _mark(self, study: str, key: str) -> None:
        mark = Mark(key, BROKEN, self._owner)
        if mark not in self._intake.spool.lifted(study):  # each look finds the file again
            self._intake.begin(study, mark)

    def _unmark(self, key: str, studies: Iterable[str]) -> None:
        for study in studies:
            self._intake.end(study, Mark(key, BROKEN, self._owner))


def _folder_of(path: Path) -> str:
    return _hash(*row_of(SourceFile(path, path.name, 0))[0])


def _key(path: Path) -> str:
    return _hash(str(path))


def _hash(*texts: str) -> str:
    """SHA-256 of parts of a path, which may name a patient."""
    return hashlib.sha256("\0".join(texts).encode(errors="surrogateescape")).hexdigest()
