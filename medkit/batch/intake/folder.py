"""Take a folder or zip in whole: each study in it is complete as soon as its last file is taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from medkit.batch.identity import hash_uid
from medkit.batch.intake.files import BROKEN, Unreadable, mark_broken, place_of, take_file
from medkit.batch.intake.quiet import settle
from medkit.batch.spool import LOW_DISK, NotTaken
from medkit.dicom.findings import Finding
from medkit.dicom.objects import find_objects

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from medkit.batch.intake.take import Intake
    from medkit.dicom.limits import Limits
    from medkit.dicom.objects import FoundObject, FoundObjects

__all__ = ["FolderTaken", "take_folder"]


@dataclass
class FolderTaken:
    """What became of a source. Messages name files, and these may name patients: show them, but do not log them.

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


def take_folder(
    source: Path,
    intake: Intake,
    limits: Limits | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FolderTaken:
    """Take all studies of a source, one after the other. After a crash, take it again: nothing is taken twice.

    Args:
        source: a folder (with all below it), a zip or a file.
        intake: the door.
        limits: of headers and zips.
        progress: called after each file with how many of how many are done.

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

            _take_study(intake, study, objects, found, taken, step)
            done += len(objects)
    return taken


def _take_study(
    intake: Intake,
    study: str,
    objects: list[FoundObject],
    found: FoundObjects,
    taken: FolderTaken,
    progress: Callable[[int], None],
) -> None:
    places = {place_of(one.source) for one in found.broken_beside(objects)}
    for number, one in enumerate(objects, 1):
        try:
            if not _take_one(intake, study, one, taken):
                places.add(place_of(one.source))
        except NotTaken as refusal:
            taken.left[study] = refusal.code
            if refusal.code == LOW_DISK:
                taken.postponed.append(study)
                return
        progress(number)
    if not intake.spool.instances(study):  # nothing of it can be read or nothing is anybody else's
        return
    if places:
        taken.left.setdefault(study, BROKEN)
    mark_broken(intake.spool, study, places)
    settled = settle(intake, 0.0, {study}, whole=True)
    taken.begun |= settled.begun
    taken.unchanged += settled.unchanged


def _take_one(intake: Intake, study: str, one: FoundObject, taken: FolderTaken) -> bool:
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
