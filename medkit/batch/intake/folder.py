"""Take a folder or zip in whole: each study in it is complete as soon as its last file is taken.

From its first file to its last a study is marked as not whole, so that nobody makes something of a part of it, whatever
happens between.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from medkit.batch.identity import hash_uid
from medkit.batch.intake.counting import end_counts
from medkit.batch.intake.files import Unreadable, owner_of, place_of, take_file
from medkit.batch.intake.quiet import settle
from medkit.batch.marks import BROKEN, LOW_DISK, UNFINISHED_FOLDER, Mark
from medkit.batch.spool import NotTaken
from medkit.dicom.findings import Finding
from medkit.dicom.objects import find_objects

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from medkit.batch.intake.take import Intake
    from medkit.dicom.limits import Limits
    from medkit.dicom.objects import FoundObject, FoundObjects

__all__ = ["FolderTaken", "take_folder"]


@dataclass
class FolderTaken:
    """What became of a source. Messages name files, and these may name patients: show them, but do not log them.

    Of a study that is neither begun nor unchanged something is still to come, as the ledger says.

    Args:
        begun: hash of a study to the number of its new revision.
        unchanged: hashes of studies that are what they were.
        postponed: hashes of studies that are not all taken, for the disk is nearly full: take the source again.
        instances: how many were taken, those that were there already among them.
        own: results of medkit, which are left out.
        left: hash of a study to the code of what of it was not taken; it will be refused.
        broken: files that may be missing parts of studies; those beside which they lie will be refused.
        others: files of other kinds, and zips that may not be opened.
    """

    begun: dict[str, int] = field(default_factory=dict)
    unchanged: list[str] = field(default_factory=list)
    postponed: list[str] = field(default_factory=list)
    instances: int = 0
    own: int = 0
    left: dict[str, str] = field(default_factory=dict)
    broken: list[Finding] = field(default_factory=list)
    others: list[Finding] = field(default_factory=list)

    @property
    def found(self) -> bool:
        """Whether there was anything that is, or may be, a part of a study."""
        return bool(self.instances or self.own or self.broken or self.left or self.postponed)


def take_folder(
    source: Path,
    intake: Intake,
    limits: Limits | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    nobody_counts: bool = False,
) -> FolderTaken:
    """Take all studies of a source, one after the other. After a crash, take it again: nothing is taken twice.

    A broken file marks the studies beside it until the same source is taken without it, or, where its header says which
    instance it is, until this one comes from anywhere.

    Args:
        source: a folder (with all below it), a zip or a file.
        intake: the door.
        limits: of headers and zips.
        progress: called after each file with how many of how many are done.
        nobody_counts: also complete studies of the source that an archive was still to count, after a node had taken
            something of them (:class:`medkit.batch.intake.counting.ArchiveCount`): no such node runs, and the source is
            believed. Otherwise they wait for that.

    Raises:
        UsageError: nothing there.
        OSError, LedgerError: see :meth:`medkit.batch.intake.take.Intake.take`; take the source again.
    """
    taken = FolderTaken()
    with find_objects(source, limits) as found:
        taken.broken += [one.finding for one in found.broken]
        taken.others += found.others
        studies: dict[str, list[FoundObject]] = {}
        for one in found.objects:
            studies.setdefault(hash_uid(one.uids.study), []).append(one)
        done = 0
        for study, objects in studies.items():
            if taken.postponed:  # the disk is no emptier for the next one
                taken.postponed.append(study)
                continue

            def step(number: int, before: int = done) -> None:
                progress(before + number, len(found.objects))

            if _take_study(intake, owner_of("folder", source), study, objects, found, taken, step):
                if nobody_counts:
                    end_counts(intake.spool, study)
                _complete(intake, study, taken)
            done += len(objects)
    return taken


def _take_study(
    intake: Intake,
    owner: str,
    study: str,
    objects: list[FoundObject],
    found: FoundObjects,
    taken: FolderTaken,
    progress: Callable[[int], None],
) -> bool:
    """Take what the source has of a study; whether there is something to complete."""
    missed = {Mark(place_of(one.source), BROKEN, owner) for one in found.broken_beside(objects)}
    held = {one.instance for one in intake.spool.instances(study)}
    if any(_is_new(intake, one, held) for one in objects):
        intake.begin(study, Mark(study, UNFINISHED_FOLDER, owner))
    for number, one in enumerate(objects, 1):
        try:
            if not _take_one(intake, one, taken):
                missed.add(Mark(hash_uid(one.uids.instance), BROKEN, owner))
        except NotTaken as refusal:
            taken.left[study] = refusal.code
            if refusal.code == LOW_DISK:
                taken.postponed.append(study)
                return False
        progress(number)
    held = {one.instance for one in intake.spool.instances(study)}
    missed = {mark for mark in missed if mark.name not in held}  # or it came whole, by another way
    intake.spool.miss_only(study, owner, missed if held else ())
    if not held:  # nothing of it can be read or nothing is anybody else's
        return False
    if missed.difference(intake.spool.lifted(study)):
        taken.left.setdefault(study, BROKEN)
    return True


def _complete(intake: Intake, study: str, taken: FolderTaken) -> None:
    settled = settle(intake, 0.0, {study}, whole=True)
    taken.begun |= settled.begun
    taken.unchanged += settled.unchanged


def _is_new(intake: Intake, one: FoundObject, held: Collection[str]) -> bool:
    uids = one.uids
    return not (one.cut_short or hash_uid(uids.instance) in held or intake.is_own(uids.study, uids.instance))


def _take_one(intake: Intake, one: FoundObject, taken: FolderTaken) -> bool:
    """Take an object; whether it could be read to its end."""
    shown = one.source.shown
    if one.cut_short:
        text = f"{shown}: expected pixels up to their end, got a file that ends before; copy it again"
        taken.broken.append(Finding(BROKEN, text))
        return False
    try:
        result = take_file(intake, one)
    except Unreadable as error:
        taken.broken.append(Finding(BROKEN, f"{shown}: {error}"))
        return False
    if result is None:
        taken.own += 1
    else:
        taken.instances += 1
    return True
