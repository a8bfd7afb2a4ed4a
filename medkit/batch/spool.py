"""The store of what comes in: every instance whole and on disk before its sender is told so, under names of hashes.

``incoming/`` holds what is being written, ``studies/<study>/<instance>-<content>.dcm`` what is there: SHA-256 of the
Study and SOP Instance UID and of the bytes. So the names alone say what a study holds: the same instance twice is one
file, and two contents of one instance lie side by side, as a conflict that nobody resolves by chance.
``<instance>.<code>`` is an empty file that says what was not taken: a study with one is not whole. ``expected.json``
says how many instances of each series the archive has that the study came from.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from medkit.batch.durable import sync_folder
from medkit.batch.identity import hash_revision, hash_uid, is_hash
from medkit.data.hashing import hash_files
from medkit.data.writing import UNFINISHED, write_text
from medkit.errors import MedkitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Instance", "NotTaken", "Spool", "SpoolLimits", "Stored", "Taken"]

OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0xA700, 0xC000  # DICOM PS3.4, table GG.4-1
LOW_DISK, _TOO_LARGE, _TOO_MANY = "low-disk", "too-large", "too-many"
_SUFFIX = ".dcm"
_EXPECTED = "expected.json"
_PREAMBLE, _MAGIC = 128, b"DICM"
_CHUNK = 1 << 20
_MIB = 1 << 20


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


class Spool:
    """Store instances by study; may be used by several threads and processes.

    Args:
        folder: where; made where there is none, for its owner alone.
        limits: how much is taken.
        usage: of the disk on which a path lies, as :func:`shutil.disk_usage` gives it.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        folder: Path,
        limits: SpoolLimits | None = None,
        usage: Callable[[Path], _Usage] = shutil.disk_usage,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self.limits = limits or SpoolLimits()
        self._usage = usage
        self._clock = clock
        self._incoming, self._studies = folder / "incoming", folder / "studies"
        for made in (folder, self._incoming, self._studies):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(made.parent)

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
            for entry in entries:
                name = entry.name.removesuffix(_SUFFIX)
                if name != entry.name:
                    instance, _, content = name.partition("-")
                    found.append(Instance(Path(entry.path), instance, content, entry.stat().st_size))
        return sorted(found, key=lambda one: (one.instance, one.content))

    def digest(self, study: str) -> str:
        """Hash by which a revision of a study is known: instances, contents, what is missed and what is expected.

        All of these decide what becomes of a study: once nothing is missed any more, it is another revision.
        """
        names = [f"{one.instance}-{one.content}" for one in self.instances(study)]
        names += [f"{name}.{code}" for name, code in self.missing(study).items()]
        if (expected := self.expected(study)) is not None:
            names.append(json.dumps(expected, sort_keys=True))
        return hash_revision(hashlib.sha256(name.encode()).hexdigest() for name in names)

    def conflicts(self, study: str) -> list[str]:
        """Hashes of the instances that came with more than one content."""
        counts = Counter(one.instance for one in self.instances(study))
        return sorted(instance for instance, count in counts.items() if count > 1)

    def missing(self, study: str) -> dict[str, str]:
        """Instances that came and were not taken, by their hash, each with its code; a study with one is not whole."""
        found = {}
        with suppress(FileNotFoundError), os.scandir(self._studies / study) as entries:
            for entry in entries:
                instance, _, code = entry.name.partition(".")
                if (
                    f".{code}" != _SUFFIX
                    and entry.name != _EXPECTED
                    and not entry.name.startswith(UNFINISHED)
                ):
                    found[instance] = code
        return dict(sorted(found.items()))

    def miss(self, study: str, instance: str, code: str) -> None:
        """Mark a study as not whole: something of it came that could not be taken.

        Args:
            study: hash of its UID.
            instance: hash of what is missing: of its UID, or of its place where nobody knows that.
            code: why, in kebab case.

        Raises:
            OSError: the mark could not be written.
        """
        folder = self._studies / study
        self._make_study(folder)
        (folder / f"{instance}.{code}").touch(mode=0o600)
        sync_folder(folder)

    def found(self, study: str, instance: str, code: str) -> None:
        """Take back a mark of :meth:`miss`, if it is there."""
        folder = self._studies / study
        with suppress(FileNotFoundError):
            (folder / f"{instance}.{code}").unlink()
            sync_folder(folder)

    def expect(self, study: str, counts: Mapping[str, int]) -> None:
        """Keep what an archive has of a study, which :func:`medkit.dicom.read` compares with what came.

        Args:
            study: hash of its UID.
            counts: Series Instance UID to the number of instances.
        """
        folder = self._studies / study
        self._make_study(folder)
        write_text(folder / _EXPECTED, json.dumps(dict(sorted(counts.items()))))
        (folder / _EXPECTED).chmod(0o600)
        sync_folder(folder)

    def expected(self, study: str) -> dict[str, int] | None:
        """What :meth:`expect` kept last; ``None`` where no archive was asked."""
        try:
            text = (self._studies / study / _EXPECTED).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        return {str(series): int(count) for series, count in json.loads(text).items()}

    def damaged(self, study: str) -> list[Instance]:
        """Files whose bytes are no longer those that came."""
        return [one for one in self.instances(study) if hash_files([one.path]) != one.content]

    def purge(self, older_than_seconds: float, may_go: Callable[[str], bool]) -> list[str]:
        """Remove studies that nothing was added to for so long.

        Args:
            older_than_seconds: the time for which studies are kept.
            may_go: asked for each such study right before it is removed; a ledger says there that it is finished.

        Returns:
            Hashes of the studies that were removed.
        """
        gone = []
        for study in self.studies():
            folder = self._studies / study
            old = self._clock() - folder.stat().st_mtime > older_than_seconds
            held = {path.name for path in folder.iterdir()}
            if old and may_go(study):
                self._remove(folder, held)
                gone.append(study)
        return gone

    def _remove(self, folder: Path, held: set[str]) -> None:
        """Remove a study at once, so that no half of one is ever there, but not what came since it was looked at."""
        doomed = Path(tempfile.mkdtemp(dir=self._incoming, prefix=_prefix()))
        folder.replace(doomed)
        for late in doomed.iterdir():
            if late.name not in held:
                self._move(late, folder / late.name)
        sync_folder(self._studies)
        shutil.rmtree(doomed)

    def sweep(self, older_than_seconds: float) -> int:
        """Remove what processes that were killed left half-written: they hold patients' data, and no study has them.

        Args:
            older_than_seconds: longer than an instance takes to arrive, such as a worker's lease.

        Returns:
            How many files and folders were removed.
        """
        gone = 0
        for left in self._incoming.iterdir():
            with suppress(FileNotFoundError):  # it was finished meanwhile
                status = left.stat()
                # A study that is being removed has its old time of change, and came here just now.
                if self._clock() - max(status.st_mtime, status.st_ctime) > older_than_seconds:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
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
                        _TOO_LARGE,
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
        held = self.instances(study)
        taken = Taken.NEW
        if any(one.instance == instance for one in held):
            taken = Taken.SAME if any(one.path == path for one in held) else Taken.CONFLICT
        if taken is not Taken.SAME:
            self._check_study(held, size)
            self._move(temporary, path)
        elif hash_files([path]) != content:  # damaged on the disk, and now sent again
            self._move(temporary, path)
        for mark in folder.glob(f"{instance}.*"):  # what was not taken then is there now
            mark.unlink(missing_ok=True)
        return Stored(study, Instance(path, instance, content, size), taken)

    def _check_study(self, held: list[Instance], size: int) -> None:
        limits, total = self.limits, sum(one.size for one in held) + size
        if total > limits.study_bytes or len(held) >= limits.study_instances:
            raise NotTaken(
                _TOO_MANY,
                f"expected a study of at most {limits.study_instances} instances and {limits.study_bytes} bytes, got "
                f"{len(held) + 1} and {total}; raise the limits if it is right",
            )

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

    def _make_study(self, folder: Path) -> None:
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
            sync_folder(self._studies)

    def _mark(self, study: str, instance: str, code: str) -> None:
        """Leave a sign that a study is not whole: one for each instance that may come again, one for a study's limit.

        What is there already is not missed: it was sent again at a bad moment, and will be once more.
        """
        if code == LOW_DISK and any(one.instance == instance for one in self.instances(study)):
            return
        with suppress(OSError):  # on a disk that takes not even a name, the count of instances has to tell
            self.miss(study, "study" if code == _TOO_MANY else instance, code)


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
