"""The store of what comes in: every instance whole and on disk before its sender is told so, under names of hashes.

``incoming/`` holds what is being written, ``studies/<study>/<instance>-<content>.dcm`` what is there: SHA-256 of the
Study and SOP Instance UID and of the bytes. So the names alone say what a study holds: the same instance twice is one
file, and two contents of one instance lie side by side, as a conflict that nobody resolves by chance. The same
content in another encoding is none: the file that came first stays.
What was not taken is said beside them, see :mod:`medkit.batch.marks`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Protocol

from medkit.batch.durable import sync_folder
from medkit.batch.failures import Failures
from medkit.batch.identity import hash_revision, hash_uid, is_hash
from medkit.batch.marks import LOW_DISK, NOT_COUNTED, TOO_MANY, Mark, StudyMarks
from medkit.data.hashing import hash_files
from medkit.data.writing import UNFINISHED
from medkit.dicom.network.content import same_content
from medkit.dicom.network.cut_off import TOO_LARGE
from medkit.errors import MedkitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from contextlib import AbstractContextManager

__all__ = ["Instance", "NotTaken", "Spool", "SpoolLimits", "Stored", "Taken", "existing_spool"]

OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0xA700, 0xC000  # DICOM PS3.4, table GG.4-1
_SUFFIX = ".dcm"
_REMOVED = ".removed"  # of a study's folder that is about to go
_STORE = "store"  # owner of the marks that the store leaves itself
_PREAMBLE, _MAGIC = 128, b"DICM"
_CHUNK = 1 << 20
_MIB = 1 << 20
_SIZED = 8  # studies of which sizes are kept in mind: as many come at a time


@dataclass(frozen=True)
class SpoolLimits:
    """How much is taken.

    Args:
        instance_bytes: of one instance.
        study_bytes: of all of a study.
        study_instances: of one study.
        free_bytes: what stays free on the disk: below it, senders are asked to come again.
    """

    instance_bytes: int = 4096 * _MIB
    study_bytes: int = 64 * 1024 * _MIB
    study_instances: int = 50_000
    free_bytes: int = 10 * 1024 * _MIB


class NotTaken(MedkitError):
    """An instance was not stored, and the study is marked as not whole.

    Args:
        code: ``low-disk``, ``too-large`` or ``too-many``.
        message: one line for a person.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def dicom_status(self) -> int:
        """The answer to a C-STORE: out of resources (0xA700), which is sent again, or cannot understand (0xC000)."""
        return OUT_OF_RESOURCES if self.code == LOW_DISK else CANNOT_UNDERSTAND


class Taken(StrEnum):
    """What an instance was to the store."""

    NEW = "new"
    SAME = "same"
    CONFLICT = "conflict"


@dataclass(frozen=True)
class Instance:
    """A stored file.

    Args:
        path: where it lies.
        instance: hash of its SOP Instance UID.
        content: SHA-256 of its bytes.
        size: in bytes.
    """

    path: Path
    instance: str
    content: str
    size: int


@dataclass(frozen=True)
class Stored:
    """What became of an instance that was given."""

    study: str
    instance: Instance
    taken: Taken


class _Usage(Protocol):
    @property
    def free(self) -> int: ...


class Spool(StudyMarks):
    """Store instances by study; may be used by several threads and processes.

    Args:
        folder: where; made where there is none, for its owner alone.
        limits: how much is taken.
        usage: of the disk on which a path lies, as :func:`shutil.disk_usage` gives it.
        clock: seconds since 1970.
        same: whether two files of one instance, whose bytes differ, say the same.
        make: whether it is made; otherwise an :class:`OSError` says that none is there.
    """

    def __init__(
        self,
        folder: Path,
        limits: SpoolLimits | None = None,
        usage: Callable[[Path], _Usage] = shutil.disk_usage,
        clock: Callable[[], float] = time.time,
        same: Callable[[Path, Path], bool] = same_content,
        make: bool = True,
    ) -> None:
        self.folder = folder
        self._same = same
        self.limits = limits or SpoolLimits()
        self._usage = usage
        self._clock = clock
        self._known_sizes: dict[str, dict[str, int]] = {}  # of the studies that came last
        self._sizing = Lock()
        super().__init__(folder)
        self._incoming = folder / "incoming"
        for made in (folder, self._incoming, self._studies) if make else ():
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(made.parent)
        self._studies.stat()

    def store(self, study_uid: str, sop_instance_uid: str, source: IO[bytes]) -> Stored:
        """Store an instance; when this returns, it is on disk under its name.

        The first 128 bytes are zeroed where ``DICM`` follows (DICOM PS3.10, 7.1): what a sender put there, such as the
        header of a program, travels no further.

        Args:
            study_uid: Study Instance UID.
            sop_instance_uid: SOP Instance UID.
            source: the file's bytes, read to their end.

        Raises:
            NotTaken: the disk is nearly full, or a limit is passed; the study is marked.
            OSError: the file could not be written for another reason.
        """
        study, instance = hash_uid(study_uid), hash_uid(sop_instance_uid)
        try:
            self.check_space()
            with self._temporary() as temporary:
                content, size = self._write(temporary, source)
                return self._place(temporary, study, instance, content, size)
        except NotTaken as refusal:
            self._mark(study, instance, refusal.code)
            raise
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._mark(study, instance, LOW_DISK)
            raise NotTaken(LOW_DISK, f"{self.folder}: the disk is full; make room") from error

    def studies(self) -> list[str]:
        """Hashes of all studies, in order."""
        return sorted(path.name for path in self._studies.iterdir() if is_hash(path.name))

    def instances(self, study: str) -> list[Instance]:
        """What is there of a study, by the hashes of its instances; nothing for an unknown one."""
        found = []
        with suppress(FileNotFoundError), os.scandir(self._studies / study) as entries:
            found += [_instance(Path(entry.path)) for entry in entries if entry.name.endswith(_SUFFIX)]
        return sorted(found, key=lambda one: (one.instance, one.content))

    def count(self, study: str) -> int:
        """How many files :meth:`instances` has of a study, without a look at each."""
        return sum(name.endswith(_SUFFIX) for name in _names(self._studies / study))

    def held(self, study: str) -> set[str]:
        """Hashes of the instances of which :meth:`instances` has a file, without a look at each."""
        names = _names(self._studies / study)
        return {name.partition("-")[0] for name in names if name.endswith(_SUFFIX)}

    def digest(self, study: str, without: Collection[str] = ()) -> str:
        """Hash by which a revision of a study is known: instances, contents, what is missed, lifted and expected.

        All of these decide what becomes of a study: once nothing is missed any more, it is another revision. That it is
        still to be counted is none of them: it is the same revision as long as nobody knows better.

        Args:
            study: hash of its UID.
            without: codes of marks that are left out, as if they had been taken back.
        """
        names = [f"{one.instance}-{one.content}" for one in self.instances(study)]
        marks = [mark for mark in self.marks(study) if mark.code not in (NOT_COUNTED, *without)]
        names += {f"{mark.name}.{mark.code}" for mark in marks}
        names += {f"{mark.name}.{mark.code}.lifted" for mark in self.lifted(study)}
        if (expected := self.expected(study)) is not None:
            names.append(json.dumps(expected, sort_keys=True))
        return hash_revision(hashlib.sha256(name.encode()).hexdigest() for name in names)

    def conflicts(self, study: str) -> list[str]:
        """Hashes of the instances that came with more than one content."""
        counts = Counter(one.instance for one in self.instances(study))
        return sorted(instance for instance, count in counts.items() if count > 1)

    def damaged(self, study: str) -> list[Instance]:
        """Files whose bytes are no longer those that came."""
        return [one for one in self.instances(study) if hash_files([one.path]) != one.content]

    def untouched(self, seconds: float) -> list[str]:
        """Hashes of studies that nothing was added to for so long."""
        return [one for one in self.studies() if self._clock() - self._changed(one) > seconds]

    def _changed(self, study: str) -> float:
        try:
            return (self._studies / study).stat().st_mtime
        except FileNotFoundError:  # it was removed meanwhile
            return math.inf

    def discard(self, study: str, at_rest: AbstractContextManager[object]) -> None:
        """Remove all that is there of a study.

        Args:
            study: its hash.
            at_rest: within it nothing of the study is taken, as a ledger sees to it
                (:meth:`medkit.batch.ledger.Ledger.at_end`). What is out of the way at its end was asked about, and goes
                after a crash as well; what comes later lies elsewhere.

        Raises:
            OSError: a file cannot be removed.
        """
        folder, away = self._studies / study, self._studies / f"{study}{_REMOVED}"
        if away.exists():
            shutil.rmtree(away)
        with at_rest, suppress(FileNotFoundError):
            folder.rename(away)
            sync_folder(self._studies)
        if away.exists():
            shutil.rmtree(away)
            sync_folder(self._studies)

    def remove_discarded(self) -> None:
        """Remove what :meth:`discard` had put out of the way when it broke off.

        Raises:
            OSError: a file cannot be removed; all others are first.
        """
        failures = Failures()
        for left in self._studies.glob(f"*{_REMOVED}"):
            with failures.kept():
                shutil.rmtree(left)
        failures.raise_first()

    def sweep(self, older_than_seconds: float) -> int:
        """Remove what processes that were killed left half-written: they hold patients' data, and no study has them.

        Args:
            older_than_seconds: longer than an instance takes to arrive, such as a worker's lease.

        Returns:
            How many files were removed.
        """
        gone = 0
        for left in self._incoming.iterdir():
            with suppress(FileNotFoundError):  # it was finished meanwhile
                if self._clock() - left.stat().st_mtime > older_than_seconds:
                    left.unlink()
                    gone += 1
        return gone

    def check_space(self) -> None:
        """Ask whether anything is taken now.

        Raises:
            NotTaken: ``low-disk``.
        """
        free, kept = self._usage(self.folder).free, self.limits.free_bytes
        if free < kept:
            raise NotTaken(
                LOW_DISK,
                f"{self.folder}: expected {kept / _MIB:.0f} MiB free on the disk, got {free / _MIB:.0f}; make room",
            )

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        descriptor, name = tempfile.mkstemp(dir=self._incoming, prefix=_prefix())
        os.close(descriptor)
        path = Path(name)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _write(self, path: Path, source: IO[bytes]) -> tuple[str, int]:
        """Write all of a source to the disk; give the hash of what was written and its size."""
        digest, size = hashlib.sha256(), 0
        with path.open("wb") as file:
            for chunk in _chunks(source):
                size += len(chunk)
                if size > self.limits.instance_bytes:
                    raise NotTaken(
                        TOO_LARGE,
                        f"expected an instance of at most {self.limits.instance_bytes} bytes, got more; raise the limit "
                        "if it is right",
                    )
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        return digest.hexdigest(), size

    def _place(self, temporary: Path, study: str, instance: str, content: str, size: int) -> Stored:
        folder = self._studies / study
        path = folder / f"{instance}-{content}{_SUFFIX}"
        names = _names(folder)
        others = [
            _instance(folder / name)
            for name in names
            if name.startswith(f"{instance}-") and name.endswith(_SUFFIX)
        ]
        stored, taken = Instance(path, instance, content, size), Taken.CONFLICT if others else Taken.NEW
        if stored.path in [one.path for one in others]:
            taken = Taken.SAME
            self._move(temporary, path)  # or one that the disk has damaged would stay so
        elif same := next((one for one in others if self._same(temporary, one.path)), None):
            stored, taken = same, Taken.SAME
        else:
            self._check_study(folder, names, size)
            self._move(temporary, path)
            # It was said before this instance came; who counted will count again.
            self.expect_nothing(study)
            for one in others:
                if hash_files([one.path]) != one.content:  # nobody sent what the disk made of it
                    one.path.unlink()
        for name in _names(folder):
            if name.startswith(f"{instance}."):  # what was not taken then is there now
                (folder / name).unlink(missing_ok=True)
        return Stored(study, stored, taken)

    def _check_study(self, folder: Path, names: list[str], size: int) -> None:
        held = self._sizes(folder, names)
        limits, total = self.limits, sum(held) + size
        if total > limits.study_bytes or len(held) >= limits.study_instances:
            raise NotTaken(
                TOO_MANY,
                f"expected a study of at most {limits.study_instances} instances and {limits.study_bytes} bytes, got "
                f"{len(held) + 1} and {total}; raise the limits if it is right",
            )

    def _sizes(self, folder: Path, names: list[str]) -> list[int]:
        """Sizes of the files of a study; each is asked for once, since a name stands for its content."""
        with self._sizing:
            known = self._known_sizes.pop(folder.name, {})
            found = {}
            for name in names:
                if name.endswith(_SUFFIX):
                    with suppress(FileNotFoundError):  # it was purged meanwhile
                        found[name] = known[name] if name in known else (folder / name).stat().st_size
            self._known_sizes[folder.name] = found
            if len(self._known_sizes) > _SIZED:
                del self._known_sizes[next(iter(self._known_sizes))]
        return list(found.values())

    def _move(self, temporary: Path, path: Path) -> None:
        while True:
            self._make_study(path.parent)
            try:
                temporary.replace(path)
            except FileNotFoundError:
                if not temporary.exists():
                    raise
                continue  # the study was purged between
            break
        sync_folder(path.parent)

    def _mark(self, study: str, instance: str, code: str) -> None:
        """Leave a sign that a study is not whole, which goes when the instance comes.

        What is there already is not missed: it was sent again at a bad moment, and will be once more.
        """
        if code == LOW_DISK and any(one.instance == instance for one in self.instances(study)):
            return
        with suppress(OSError):  # on a disk that takes not even a name, the count of instances has to tell
            self.miss(study, Mark(instance, code, _STORE))


def _instance(path: Path) -> Instance:
    """What the name of a file says."""
    instance, _, content = path.name.removesuffix(_SUFFIX).partition("-")
    return Instance(path, instance, content, path.stat().st_size)


def existing_spool(folder: Path) -> Spool:
    """The store of a batch that was begun.

    Raises:
        UsageError: there is none.
    """
    try:
        return Spool(folder, make=False)
    except OSError as error:
        raise UsageError(
            f"{folder}: expected the store of the batch, got {error.strerror or error}; check the disk"
        ) from error


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except FileNotFoundError:
        return []


def _prefix() -> str:
    return f"{UNFINISHED}{os.getpid()}-"


def _chunks(source: IO[bytes]) -> Iterator[bytes]:
    """All of a source, piece by piece, the preamble zeroed."""
    head = b""
    while len(head) < _PREAMBLE + len(_MAGIC) and (more := source.read(_PREAMBLE + len(_MAGIC) - len(head))):
        head += more
    yield bytes(_PREAMBLE) + _MAGIC if head[_PREAMBLE:] == _MAGIC else head
    while chunk := source.read(_CHUNK):
        yield chunk
