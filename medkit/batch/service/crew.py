"""The workers of a service: started, watched, started again when they die, and ended."""

from __future__ import annotations

import logging
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

import psutil

from medkit.batch.ledger import Stage
from medkit.batch.logs import told
from medkit.batch.notices import Kind, Notices
from medkit.batch.service.flights import read_hands
from medkit.batch.service.memory import worker_memory
from medkit.batch.service.process import Word, hands_folder, work
from medkit.batch.service.recovery import DIED, Death, recover, too_slow
from medkit.batch.status.alerts import OF_KIND
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from medkit.batch.logs import LogSettings
    from medkit.batch.service.flights import Hands
    from medkit.batch.service.settings import Settings

__all__ = ["Crew"]

_LOG = logging.getLogger(__name__)
_PAUSES = (0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 60.0)  # before a worker is started again, by deaths in a row
_HEALTHY_SECONDS = 60.0  # one that was ready for so long begins a new row
_AGAIN_AND_AGAIN = 3
_HOPELESS = 5
_PROCESSES = get_context("spawn")  # forked ones would inherit threads' locks and a GPU that they cannot use


@dataclass
class _Place:
    """A worker's place: its process, if there is one.

    Args:
        number: of the worker, from 1.
        process: that lives, or whose death was not seen yet.
        pipe: by which that says that it is ready, or why it ends.
        ready: whether it is.
        last_words: why it ends, as far as it is known before.
        ready_since: when it said so.
        deaths: in a row, with no healthy worker between.
        stillborn: those of the last in the row that were never ready.
        due: when the next is started.
        cause: of the last death.
    """

    number: int
    process: SpawnProcess | None = None
    pipe: Connection | None = None
    ready: bool = False
    last_words: str = ""
    ready_since: float = 0.0
    deaths: int = 0
    stillborn: int = 0
    due: float = 0.0
    cause: str = ""
    trouble: str | None = None


class Crew:
    """Workers, for one thread.

    Args:
        settings: of the service.
        logs: where the workers' go.
        notices: where it is told that no worker lives, that some die again and again, or that a cluster takes nothing.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        settings: Settings,
        logs: LogSettings,
        notices: Notices,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._logs, self._notices, self._clock = settings, logs, notices, clock
        self._noted: set[Kind] = set()
        self._proven = False  # a worker was ready once: the settings can be used
        # One has a whole cluster make studies.
        workers = settings.workers if settings.cluster is None else 1
        self._places = [_Place(number) for number in range(1, workers + 1)]
        self._killed: dict[int, Death] = {}  # by process

    @property
    def size(self) -> int:
        """How many workers there should be."""
        return len(self._places)

    @property
    def sentinels(self) -> list[int]:
        """What :func:`multiprocessing.connection.wait` waits for: that a worker dies."""
        return [place.process.sentinel for place in self._places if place.process is not None]

    @property
    def hopeless(self) -> str | None:
        """The last cause, where a worker died again and again before it was ready."""
        return next((place.cause for place in self._places if place.stillborn >= _HOPELESS), None)

    @property
    def unreached(self) -> str | None:
        """Why there never was a worker that is ready, where one says so."""
        if self._proven:
            return None
        return next((place.trouble for place in self._places if place.trouble), None)

    def problems(self) -> list[str]:
        """Why nothing is made; may be asked by another thread."""
        if troubles := [place.trouble for place in self._places if place.trouble]:
            return troubles
        if any(place.ready for place in self._places):
            return []
        if (dead := self._all_dead()) is not None:
            return [dead]
        return ["no worker is ready yet: bundles are being loaded"]

    def tend(self) -> None:
        """Start what is to be started, and see to what died; call it every second.

        Raises:
            UsageError: a worker says that the settings are wrong, and none was ever ready.
            LedgerError: the ledger cannot be written; call it again.
        """
        now = self._clock()
        for place in self._places:
            self._look_at(place, now)
        self._note(Kind.WORKERS, self._dying() or self._all_dead())
        # One worker alone speaks with a cluster.
        self._note(Kind.CLUSTER, self._places[0].trouble, passing=True)
        for place in self._places:
            if place.process is None and now >= place.due:
                self._start(place, now)
        self._look_at_hands()

    def stop(self, hurry: Callable[[], bool]) -> None:
        """End all workers: they end what they work on, for as long as the settings say, or until ``hurry``."""
        living = [place.process for place in self._places if place.process is not None]
        for process in living:
            process.terminate()
        until = time.monotonic() + self._settings.limits.stop_seconds
        while any(process.is_alive() for process in living) and time.monotonic() < until and not hurry():
            time.sleep(0.05)
        for process in living:
            if process.is_alive():
                self._killed[process.pid or 0] = Death("worker-stopped", "its worker was asked to end", ())
                process.kill()
            process.join()
        for place in self._places:
            place.process, place.ready = None, False
        self._look_at_hands()

    def _all_dead(self) -> str | None:
        """That none is ready, and one died; at the start none is ready either."""
        causes = [place.cause for place in self._places if place.deaths]
        if not causes or any(place.ready for place in self._places):
            return None
        return f"no worker lives: they died ({causes[0]}), and are started again; see the log"

    def _dying(self) -> str | None:
        dying = [place for place in self._places if place.deaths >= _AGAIN_AND_AGAIN]
        if not dying:
            return None
        worst = max(dying, key=lambda place: place.deaths)
        return (
            f"{len(dying)} of {len(self._places)} die again and again, one {worst.deaths} times so far ({worst.cause}); "
            "see the log"
        )

    def _note(self, kind: Kind, message: str | None, *, passing: bool = False) -> None:
        if message is not None:
            self._noted.add(kind)
            self._notices.put(kind, kind, OF_KIND[kind], message.removeprefix(f"{kind}: "), passing=passing)
        elif kind in self._noted:
            self._noted.remove(kind)
            self._notices.clear(kind, kind)

    def _start(self, place: _Place, now: float) -> None:
        place.last_words = ""
        try:
            place.pipe, other = _PROCESSES.Pipe(duplex=False)
            with other:
                process = _PROCESSES.Process(
                    target=work,
                    args=(self._settings, place.number, self._logs, other, self._proven),
                    name=f"worker-{place.number}",
                )
                process.start()
        except OSError as error:  # no memory or no descriptors for another process now
            self._bury(place, now, f"it could not be started: {error.strerror or type(error).__name__}")
        else:
            place.process = process

    def _look_at(self, place: _Place, now: float) -> None:
        if place.process is None:
            return
        dead = not place.process.is_alive()  # asked before it is heard, or its last words were lost
        self._hear(place, now)
        if place.ready and now - place.ready_since >= _HEALTHY_SECONDS:
            place.deaths = 0
        if dead:
            self._bury(place, now, place.last_words or _cause(place.process.exitcode))

    def _bury(self, place: _Place, now: float, cause: str) -> None:
        code = None if place.process is None else place.process.exitcode
        place.deaths += 1
        place.stillborn = 0 if place.ready else place.stillborn + 1
        place.due = now + _PAUSES[min(place.deaths, len(_PAUSES)) - 1]
        place.process, place.ready, place.cause, place.trouble = None, False, cause, None
        if place.pipe is not None:
            place.pipe.close()
        fields = told(worker=place.number, exit_code=code, deaths=place.deaths, again_in=place.due - now)
        _LOG.warning("a worker died: %s", cause, extra=fields)

    def _hear(self, place: _Place, now: float) -> None:
        """Hear that a worker is ready, or why it ends."""
        assert place.pipe is not None
        with suppress(EOFError):  # it is dead, and has said all
            while place.pipe.poll():
                word, text = place.pipe.recv()
                if word is Word.READY:
                    place.ready = self._proven = True
                    place.ready_since = now
                elif word is Word.TROUBLE:
                    place.trouble = text
                elif word is Word.WRONG and not self._proven:
                    raise UsageError(text)
                else:
                    place.last_words = text

    def _look_at_hands(self) -> None:
        """Give back what dead workers had, those of an earlier service among them, and end what takes too much."""
        places = {place.process.pid: place for place in self._places if place.process is not None}
        for hands in read_hands(hands_folder(self._settings)):
            if not hands.alive:
                death = self._killed.get(hands.pid, DIED)
                recover(hands, self._settings.job.ledger, self._settings.policy, death)
                self._killed.pop(hands.pid, None)
            elif hands.pid in places and hands.pid not in self._killed:
                death_due = self._excess(hands)
                if death_due is not None:
                    self._killed[hands.pid] = death_due
                    places[hands.pid].last_words = death_due.reason
                    _LOG.warning("a worker is killed", extra=told(worker=hands.owner, code=death_due.code))
                    with suppress(psutil.NoSuchProcess):
                        psutil.Process(hands.pid).kill()

    def _excess(self, hands: Hands) -> Death | None:
        limits = self._settings.limits
        slow = {
            flight.claim.study
            for flight in hands.flights
            if flight.stage is not None
            and flight.claim.stage is Stage.MAKE
            and time.time() - flight.since > limits.stage_seconds
        }
        if slow:
            return too_slow(limits.stage_seconds, slow)
        if self._settings.cluster is not None:
            return None  # the limit is one of the cluster's workers
        try:
            used = psutil.Process(hands.pid).memory_info().rss
        except psutil.NoSuchProcess:
            return None
        if used <= (most := worker_memory(self._settings)):
            return None
        return Death(
            "too-much-memory",
            f"expected a worker of at most {most >> 20} MiB, got {used >> 20}; raise the limit if it is "
            "right",
        )


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"killed by signal {-exit_code}: {signal.strsignal(-exit_code)}"
    return f"it ended with exit code {exit_code}"
