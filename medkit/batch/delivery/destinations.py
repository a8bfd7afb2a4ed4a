"""Where results go: a folder, or an archive. Each takes objects, gives them back, and withdraws them.

A destination raises :class:`medkit.dicom.network.archive.ArchiveDown` where a later call may go well, and
:class:`medkit.dicom.network.archive.ArchiveRefused` where it would not.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol

from medkit.batch.durable import sync_folder
from medkit.batch.identity import hash_uid
from medkit.data.writing import UNFINISHED, replacing
from medkit.dicom.network.archive import ArchiveDown, ArchiveRefused
from medkit.dicom.network.content import content_hash
from medkit.dicom.network.rejection import write_rejection_note
from medkit.dicom.objects import ObjectUids, read_uids
from medkit.dicom.writing.saving import save
from medkit.dicom.writing.stubs import is_stub
from medkit.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from medkit.dicom.network.archive import Archive

__all__ = ["FOLDER_GONE", "ArchiveDestination", "Destination", "FolderDestination", "Made"]

FOLDER_GONE = "folder-gone"
"""Code of a destination whose folder is not there: a person has to mount or make it."""

_FOLDER_MODE, _FILE_MODE = 0o750, 0o640  # patients' data: nothing for other users


@dataclass(frozen=True)
class Made:
    """A result that goes somewhere.

    Args:
        uid: its SOP Instance UID, which is derived and tells nothing of the patient.
        path: its file.
        study_uid: its Study Instance UID, by which an archive is asked for a result of which there is no file any more.
    """

    uid: str
    path: Path
    study_uid: str = ""


class Destination(Protocol):
    """Where results go."""

    @property
    def name(self) -> str:
        """By which the ledger and the audit log know it."""
        ...

    def send(self, objects: Sequence[Made]) -> Mapping[str, str | None]:
        """SOP Instance UID to ``None`` where an object was taken, else to one line that says why not."""
        ...

    def read_back(self, made: Made) -> str | None:
        """What is there under an object's UID, as :func:`medkit.dicom.network.content.content_hash`, if anything."""
        ...

    def withdraw(self, made: Made) -> None:
        """Let an object not count any more, if it is there. Its file may be gone. To do so twice does no harm."""
        ...


class FolderDestination:
    """Files ``STUDY/UID.dcm``, each whole or not there: the hash of the result's own Study Instance UID, and its UID.

    Folders and files are for their owner and group alone, or for fewer where the process's umask says so.

    Args:
        name: of the destination.
        folder: where; it must be there, so that a share that is not mounted is not taken for an empty one.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder

    def send(self, objects: Sequence[Made]) -> dict[str, str | None]:
        """Write files; one that is there with another content stays, and the object is not taken."""
        with self._reachable():
            return {made.uid: self._put(made) for made in objects}

    def read_back(self, made: Made) -> str | None:
        """Hash of what lies there, from the disk and not from memory, as far as the system can."""
        path = self._path(made)
        with self._reachable():
            if not path.is_file():
                return None
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            return self._hash(path)

    def withdraw(self, made: Made) -> None:
        """Remove the file; where that of the result is gone it is searched for."""
        study = _study_of(made.path)
        places = [self._place(study, made.uid)] if study else self.folder.glob(f"*/{made.uid}.dcm")
        with self._reachable():
            for path in places:
                if not path.parent.is_dir():
                    continue
                path.unlink(missing_ok=True)
                sync_folder(path.parent)
                with suppress(OSError):  # others of the study may lie there
                    path.parent.rmdir()

    def _put(self, made: Made) -> str | None:
        path = self._path(made)
        if path.exists():
            same = self._hash(path) == self._hash(made.path)
            return None if same else "expected no other object under its UID, got one; remove that by hand"
        path.parent.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        for left in path.parent.glob(f"{UNFINISHED}*-{path.name}"):  # by a process that was killed
            left.unlink(missing_ok=True)
        with replacing(path) as temporary:
            temporary.touch(mode=_FILE_MODE)
            shutil.copyfile(made.path, temporary)
        sync_folder(path.parent)
        sync_folder(self.folder)
        return None

    def _path(self, made: Made) -> Path:
        if study := _study_of(made.path):
            return self._place(study, made.uid)
        raise ArchiveRefused(
            "result-unreadable",
            f"{self.name}: expected the file of a result, got none that can be read; make it again",
        )

    def _place(self, study_uid: str, uid: str) -> Path:
        return self.folder / hash_uid(study_uid) / f"{uid}.dcm"

    def _hash(self, path: Path) -> str:
        with _comparing(self.name):
            return content_hash(path)

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        if not self.folder.is_dir():
            raise ArchiveDown(
                f"{self.name}: expected its folder to be there, got none; mount or make it", FOLDER_GONE
            )
        try:
            yield
        except OSError as error:
            raise ArchiveDown(
                f"{self.name}: its folder cannot be read or written ({error.strerror})"
            ) from error


class ArchiveDestination:
    """An archive that takes results, and rejection notes for those that do not count any more.

    Args:
        archive: which.
        write_note: given the file of a result, writes the file of a rejection note for it and gives its path; the same
            note for the same result, so that a crash between leaves one.
        name: of the destination; the archive's own unless given.
    """

    def __init__(
        self,
        archive: Archive,
        write_note: Callable[[Path], Path] = write_rejection_note,
        name: str | None = None,
    ) -> None:
        self.archive, self.name = archive, name or archive.name
        self._write_note = write_note

    def send(self, objects: Sequence[Made]) -> dict[str, str | None]:
        """Store objects."""
        return self.archive.send([made.path for made in objects])

    def read_back(self, made: Made) -> str | None:
        """Hash of what the archive gives out under the object's UIDs."""
        return self._read_back(self._uids(made.path))

    def withdraw(self, made: Made) -> None:
        """Store a rejection note, and see that it is there.

        Also where the archive does not show the object: it may be taking it in still. Only where of the result no more
        than its UIDs was kept, or its file is gone, the note is made of what the archive has, and there is none where it
        has nothing.

        Raises:
            ArchiveRefused: ``withdrawal-lost``: the note is not there, or is another; ``result-unreadable``: the file of
                the result is gone, and nobody knows its study.
        """
        if not made.path.is_file() and made.study_uid:
            for series in self.archive.counts(made.study_uid):
                self._reject_fetched(made, made.study_uid, series)
            return
        uids = self._uids(made.path)
        if is_stub(made.path):
            self._reject_fetched(made, uids.study, uids.series)
        else:
            self._reject(made.path)

    def _reject_fetched(self, made: Made, study_uid: str, series_uid: str) -> None:
        there = self.archive.read_back(study_uid, series_uid, made.uid)
        if there is not None:
            with TemporaryDirectory() as folder:
                fetched = Path(folder) / made.path.name
                save(there, fetched)
                self._reject(fetched)

    def _reject(self, result: Path) -> None:
        note = self._write_note(result)
        uids, content = self._uids(note), content_hash(note)
        if self._read_back(uids) == content:
            return
        answer = self.archive.send([note]).get(uids.instance, "it said nothing")
        if self._read_back(uids) != content:
            raise ArchiveRefused(
                "withdrawal-lost",
                f"{self.name}: expected a rejection note to be there after it was sent, got none or another"
                + (f" ({answer})" if answer else ""),
            )

    def _read_back(self, uids: ObjectUids) -> str | None:
        there = self.archive.read_back(uids.study, uids.series, uids.instance)
        with _comparing(self.name):
            return None if there is None else content_hash(there)

    def _uids(self, path: Path) -> ObjectUids:
        try:
            return read_uids(path)
        except CaseError as error:
            raise ArchiveRefused(
                "result-unreadable", f"{self.name}: expected the file of a result, got none that can be read"
            ) from error


def _study_of(path: Path) -> str:
    """Study Instance UID of a result by its file; empty where that is gone or cannot be read."""
    try:
        return read_uids(path).study
    except CaseError:
        return ""


@contextmanager
def _comparing(destination: str) -> Iterator[None]:
    """Tell what a destination has and nobody can hash."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise ArchiveRefused(
            "read-back-unreadable",
            f"{destination}: expected a DICOM object that can be compared, got one that cannot ({type(error).__name__})",
        ) from error
