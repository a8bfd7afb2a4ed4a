"""The sources of a service, each in a thread of its own, since each waits for a network or a disk."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from medkit.batch.intake.counting import forget_counts
from medkit.batch.intake.memory import Memory
from medkit.batch.intake.pull import Step
from medkit.batch.logs import told
from medkit.batch.marks import NAMES_THE_BROKEN
from medkit.batch.notices import Kind, Notices
from medkit.batch.service.chores import Chore
from medkit.batch.service.parts import make_archive, make_puller, make_watched
from medkit.dicom.network.archive import DOWN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medkit.batch.intake.counting import ArchiveCount
    from medkit.batch.intake.pull import Puller
    from medkit.batch.intake.take import Intake
    from medkit.batch.intake.watch import WatchedFolder
    from medkit.batch.service.settings import Settings, WatchSettings

__all__ = ["count_chores", "open_sources"]

_LOG = logging.getLogger(__name__)
_AT_ONCE = frozenset({Step.PULLED, Step.UNCHANGED, Step.SEARCHED, Step.SEEN, Step.FAILED})
_PULL_SECONDS = 5.0
_COUNT_SECONDS, _SILENT_SECONDS = 1.0, 30.0
_COUNTING = "counting"  # task of an archive, too
_REQUESTS = "requests"  # task of an archive: others of its studies may be pulled well


def open_sources(settings: Settings, intake: Intake) -> tuple[list[Chore], list[Memory]]:
    """Watched folders and pullers that are not started yet, and what they remember by, which is to be closed last.

    Raises:
        UsageError: a list or a memory cannot be read, or an archive cannot be asked so.
    """
    chores, memories, notices = [], [], Notices(settings.job.notices)
    for number, watched in enumerate(settings.watched, 1):
        name = f"folder-{number}"
        memories.append(Memory(settings.job.sources / f"{name}.sqlite"))
        look = _Look(name, make_watched(watched, intake, memories[-1]), watched, notices)
        chores.append(Chore(name, look.once, notices))
    for number, asked in enumerate(settings.pulls, 1):
        name = f"archive-{number}"
        memories.append(Memory(settings.job.sources / f"{name}.sqlite"))
        archive = make_archive(settings.archives[asked.archive])
        puller = make_puller(asked, settings.quiet_seconds, archive, intake, memories[-1])
        puller.retry()  # whoever mended something starts the service anew
        chores.append(Chore(name, _Pull(name, puller, notices).once, notices))
    return chores, memories


def count_chores(counts: Mapping[str, ArchiveCount], settings: Settings, intake: Intake) -> list[Chore]:
    """Ask archives how many instances studies have that nodes took, for good; others are asked no more."""
    forget_counts(intake, {one.mark_name for one in counts.values()})
    notices = Notices(settings.job.notices)
    return [Chore(f"count-{name}", _Count(name, one, notices).once, notices) for name, one in counts.items()]


class _Count:
    """Count what nodes took at an archive."""

    def __init__(self, name: str, count: ArchiveCount, notices: Notices) -> None:
        self._name, self._count, self._notices = name, count, notices
        self._last: str | None = None

    def once(self) -> float:
        """Count what is quiet; seconds until the next time."""
        trouble = self._count.count()
        if trouble is None:
            self._notices.clear(Kind.SOURCE, self._name, _COUNTING)
        else:
            message = f"studies wait to be counted: {trouble}"
            passing = trouble.code == DOWN
            self._notices.put(Kind.SOURCE, self._name, trouble.code, message, passing=passing, task=_COUNTING)
            if trouble.code != self._last:
                _LOG.warning("studies wait to be counted", extra=told(source=self._name, why=trouble.code))
        self._last = None if trouble is None else trouble.code
        return _COUNT_SECONDS if trouble is None else _SILENT_SECONDS


class _Look:
    """Look at a watched folder; files are told by their number, since their names may name patients."""

    def __init__(self, name: str, watched: WatchedFolder, settings: WatchSettings, notices: Notices) -> None:
        self._name, self._watched, self._settings, self._notices = name, watched, settings, notices
        self._reachable = True

    def once(self) -> float:
        """Look once; seconds until the next time."""
        found = self._watched.poll()
        if found.reachable != self._reachable:
            self._reachable = found.reachable
            state = (
                "can be listed again"
                if found.reachable
                else "cannot be listed: is it there, and may we read it?"
            )
            _LOG.warning(
                "the watched folder %s", state, extra=told(source=self._name, folder=self._settings.folder)
            )
        if found.reachable:
            self._notices.clear(Kind.SOURCE, self._name)
        else:
            message = "the watched folder cannot be listed: is it there, and may we read it?"
            self._notices.put(Kind.SOURCE, self._name, "folder-unreachable", message, passing=True)
        if found.taken or found.broken or found.left or found.no_room or found.kept:
            level = (
                logging.WARNING if found.broken or found.left or found.no_room or found.kept else logging.INFO
            )
            _LOG.log(
                level,
                "files of the watched folder",
                extra=told(
                    source=self._name,
                    taken=found.taken,
                    broken=len(found.broken) or None,
                    hint=NAMES_THE_BROKEN if found.broken else None,
                    beyond_a_limit=found.left or None,
                    not_removed=found.kept or None,
                    no_room=found.no_room or None,
                ),
            )
        return self._settings.poll_seconds


class _Pull:
    """Take the next study out of an archive."""

    def __init__(self, name: str, puller: Puller, notices: Notices) -> None:
        self._name, self._puller, self._notices = name, puller, notices
        self._last: Step | None = None
        self._given_up = 0

    def once(self) -> float:
        """Take one step; seconds until the next."""
        step = self._puller.step()
        if step is not self._last and step in (Step.DOWN, Step.NO_ROOM, Step.CLOSED):
            level = logging.INFO if step is Step.CLOSED else logging.WARNING
            _LOG.log(level, "nothing is pulled now", extra=told(source=self._name, why=step))
        self._last = step
        self._note(step)
        given_up = self._puller.failures()
        if len(given_up) != self._given_up:
            self._given_up = len(given_up)
            codes = ",".join(sorted(set(given_up.values())))
            _LOG.warning(
                "studies or searches that are given up",
                extra=told(source=self._name, count=self._given_up, codes=codes),
            )
            self._note_given_up(codes)
        return 0.0 if step in _AT_ONCE else _PULL_SECONDS

    def _note(self, step: Step) -> None:
        down = self._puller.down
        if down is not None:
            passing = down.code == DOWN
            self._notices.put(Kind.SOURCE, self._name, down.code, str(down), passing=passing)
        elif step not in (Step.CLOSED, Step.NO_ROOM):
            self._notices.clear(Kind.SOURCE, self._name)

    def _note_given_up(self, codes: str) -> None:
        if not self._given_up:
            self._notices.clear(Kind.SOURCE, self._name, _REQUESTS)
            return
        message = (
            f"{self._given_up} of its studies and searches came to nothing again and again ({codes}); see the archive's "
            "log, mend it, and start the service anew"
        )
        self._notices.put(Kind.SOURCE, self._name, "pull-given-up", message, task=_REQUESTS)
