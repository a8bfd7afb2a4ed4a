"""What is said of a study beside its instances: what of it was not taken, and how much an archive has of it.

Empty files in the study's folder say it, so that it lies where the instances lie, and goes with them:
``<name>.<code>.<owner>`` is something that was not taken, and who says so; a study with one is not whole. Who left such
a mark takes it away, and nobody else but the instance of that name, when it comes. A person may say that the study is
whole without it: the mark is lifted then, ``<name>.<code>.<owner>.lifted``, and stays as the trace of that.
``expected.json`` says how many instances of each series the archive has that the study came from.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medkit.batch.durable import sync_folder
from medkit.data.writing import UNFINISHED, write_text
from medkit.dicom.network.cut_off import CUT_OFF, TOO_LARGE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

__all__ = [
    "BROKEN",
    "LOW_DISK",
    "NAMES_THE_BROKEN",
    "NOT_COUNTED",
    "NOT_RELEASED",
    "TOO_MANY",
    "UNFINISHED_FOLDER",
    "UNFINISHED_PULL",
    "WHAT_IS_AWAITED",
    "WHAT_TO_DO",
    "Mark",
    "StudyMarks",
]

# Codes of marks, beside those of `medkit.dicom.network.cut_off`.
LOW_DISK, TOO_MANY, BROKEN = "low-disk", "too-many", "broken-file"
UNFINISHED_FOLDER, UNFINISHED_PULL = "folder-unfinished", "pull-unfinished"
NOT_COUNTED = "not-counted"
"""Of a mark that says that an archive is still to be asked how much there is; no revision begins with one."""
NOT_RELEASED = "not-released"
"""Of a mark that says that a sender has not said that all was sent: its association was not released, or not yet."""
# A file's own name may name a patient, so that nothing of a batch tells it.
NAMES_THE_BROKEN = "'medkit dicom inspect' on the folder that it came from names the file"
WHAT_TO_DO = {
    LOW_DISK: "the disk was too full; make room, and send the study again",
    TOO_LARGE: "above a limit; raise it if that is right, and send the study again",
    TOO_MANY: "above a limit; raise it if that is right, and send the study again",
    CUT_OFF: "the sender broke off; send the study again",
    BROKEN: f"a file cannot be read; {NAMES_THE_BROKEN}: mend it, or take it away",
}
"""By code, about what was not taken. What is only on its way, as the rest of a folder, is no reason to do anything."""
WHAT_IS_AWAITED = {
    NOT_COUNTED: "waits to be counted: its archive is still to be asked, or has another number of instances; if that "
    "lasts, look at the archive, and whether all of the study was sent to both",
    NOT_RELEASED: "its sender has not said yet that this is all (a release of the association), or broke off; if that "
    "lasts, have the study sent again, whole, from there",
}
"""By code, about a study of which nothing else is missed; the first that there is says more."""
_EXPECTED = "expected.json"
_LIFTED = ".lifted"
_CALLER = "caller-"
_PARTS = 2  # of a mark's file behind its name: code and owner


@dataclass(frozen=True)
class Mark:
    """Something of a study that is missed.

    Args:
        name: hash of what it is: of its UID, or of its place where nobody knows that.
        code: why, in kebab case.
        owner: who says so.
    """

    name: str
    code: str
    owner: str

    @property
    def file(self) -> str:
        """Its name in the study's folder."""
        return f"{self.name}.{self.code}.{self.owner}"

    @property
    def caller(self) -> str | None:
        """AE title of the caller whose release is awaited, where the mark is one of :meth:`not_released`."""
        if self.code != NOT_RELEASED or not self.owner.startswith(_CALLER):
            return None
        return bytes.fromhex(self.owner.removeprefix(_CALLER)).decode()

    @classmethod
    def not_released(cls, ae_title: str) -> Mark:
        """A mark that says that a caller has not said that all was sent; it tells who that is."""
        title = ae_title.encode()
        return cls(hashlib.sha256(title).hexdigest(), NOT_RELEASED, f"{_CALLER}{title.hex()}")


class StudyMarks:
    """Marks of studies; may be used by several threads and processes.

    To read them no store has to be there: a study that is in none has no marks.

    Args:
        store: folder of the store.
    """

    def __init__(self, store: Path) -> None:
        self._studies = store / "studies"

    def marks(self, study: str) -> list[Mark]:
        """All that is missed of a study, in order; one with a mark is not whole."""
        return self._said(study, lifted=False)

    def lifted(self, study: str) -> list[Mark]:
        """Marks without which the study is whole, for a person said so; in order."""
        return self._said(study, lifted=True)

    def _said(self, study: str, *, lifted: bool) -> list[Mark]:
        found = []
        with suppress(FileNotFoundError), os.scandir(self._studies / study) as entries:
            for entry in entries:
                name, *parts = entry.name.removesuffix(_LIFTED).split(".")
                is_mark = len(parts) == _PARTS and not entry.name.startswith(UNFINISHED)
                if is_mark and entry.name.endswith(_LIFTED) == lifted:
                    found.append(Mark(name, *parts))
        return sorted(found, key=lambda mark: mark.file)

    def missing(self, study: str) -> dict[str, str]:
        """What is missed of a study, whoever says so: names of :meth:`marks`, each with its code."""
        return {mark.name: mark.code for mark in self.marks(study)}

    def has(self, study: str, mark: Mark) -> bool:
        """Whether this is missed of a study; asked for each instance, it looks through no folder."""
        return (self._studies / study / mark.file).exists()

    def miss(self, study: str, mark: Mark) -> None:
        """Mark a study as not whole: something of it came, or is to come, that was not taken.

        A mark that was lifted is one again: what a person said was said before.

        Raises:
            OSError: the mark could not be written.
        """
        folder = self._studies / study
        self._make_study(folder)
        (folder / mark.file).touch(mode=0o600)
        (folder / f"{mark.file}{_LIFTED}").unlink(missing_ok=True)
        sync_folder(folder)

    def lift(self, study: str, mark: Mark) -> None:
        """Let a study be whole without what a mark says is missed; nothing where there is no such mark.

        Raises:
            OSError: the file cannot be renamed.
        """
        folder = self._studies / study
        with suppress(FileNotFoundError):
            (folder / mark.file).rename(folder / f"{mark.file}{_LIFTED}")
            sync_folder(folder)

    def found(self, study: str, mark: Mark) -> None:
        """Take back a mark of :meth:`miss`, if it is there, and whether or not it was lifted."""
        folder = self._studies / study
        for name in (mark.file, f"{mark.file}{_LIFTED}"):
            with suppress(FileNotFoundError):
                (folder / name).unlink()
                sync_folder(folder)

    def miss_only(self, study: str, owner: str, marks: Collection[Mark]) -> None:
        """Let these be all marks of one owner; there is no moment with fewer than before and after.

        One that was lifted stays so.

        Raises:
            OSError: a mark could not be written.
        """
        held = [mark for mark in (*self.marks(study), *self.lifted(study)) if mark.owner == owner]
        for mark in sorted(set(marks) - set(held), key=lambda mark: mark.file):
            self.miss(study, mark)
        for mark in held:
            if mark not in marks:
                self.found(study, mark)

    def forget(self, study: str, marks: Collection[Mark]) -> None:
        """Remove what is said of a study of which nothing else is there; what came meanwhile stays.

        Args:
            study: its hash.
            marks: all of them, lifted or not.

        Raises:
            OSError: a file cannot be removed.
        """
        for mark in marks:
            self.found(study, mark)
        self.expect_nothing(study)
        with suppress(OSError):  # something came, or there is no folder
            (self._studies / study).rmdir()
            sync_folder(self._studies)

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
        """What :meth:`expect` kept last; ``None`` where no archive was asked, or another instance came since."""
        try:
            text = (self._studies / study / _EXPECTED).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        return {str(series): int(count) for series, count in json.loads(text).items()}

    def expect_nothing(self, study: str) -> None:
        """Forget what :meth:`expect` kept, if anything: it was said before another instance came."""
        (self._studies / study / _EXPECTED).unlink(missing_ok=True)

    def _make_study(self, folder: Path) -> None:
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
            sync_folder(self._studies)
