"""The workers of a service: started, watched, started again when they die, and ended."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

import psutil

from medkit.batch.ledger import Stage
from medkit.batch.service.flights import read_hands
from medkit.batch.service.logs import told
from medkit.batch.service.process import Word, hands_folder, work
from medkit.batch.service.recovery import DIED, Death, recover, too_slow
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from medkit.batch.service.flights import Hands
    from medkit.batch.service.logs import LogSettings
    from medkit.batch.service.settings import Settings

__all__ = ["Crew"]

_LOG = logging.getLogger(__name__)
_LONGEST_PAUSE = 60.0  # before a worker that dies again and again is started once more
_HEALTHY_SECONDS = 60.0  # one that lived for so long is not one of these
_HOPELESS = 5
_PROCESSES = get_context("spawn")  # forked ones would inherit threads' locks and a GPU that they cannot use


@dataclass
class _Place:
    """A worker's place: its process, if there is one."""

    number: int
    process: SpawnProcess | None = None
    pipe: Connection | None = None
    ready: bool = False
    born: float = 0.0
    deaths: int = 0
    stillborn: int = 0
    due: float = 0.0
    trouble: str | None = None


class Crew:
    """Workers, for one thread.

    Args:
        settings: of the service.
        logs: where the workers' go.
    """

    def __init__(self, settings: Settings, logs: LogSettings) -> None:
        self._settings, self._logs = settings, logs
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
    def hopeless(self) -> bool:
        """Whether a worker died again and again before it was ready."""
        return any(place.stillborn >= _HOPELESS for place in self._places)

    @property
    def unreached(self) -> str | None:
        """Why there never was a worker that is ready, where one says so."""
        return next((place.trouble for place in self._places if not place.ready and place.trouble), None)

    def problems(self) -> list[str]:
        """Why nothing is made; may be asked by another thread."""
        if troubles := [place.trouble for place in self._places if place.trouble]:
            return troubles
        if any(place.ready for place in self._places):
            return []
        if any(place.deaths for place in self._places):
            return ["no worker lives: they died, and are started again; see the log"]
        return ["no worker is ready yet: bundles are being loaded"]

    def tend(self) -> None:
        """Start what is to be started, and see to what died; call it every second.

        Raises:
            UsageError: a worker says that the settings are wrong.
            LedgerError: the ledger cannot be written; call it again.
        """
        now = time.monotonic()
        for place in self._places:
            self._look_at(place, now)
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

    def _start(self, place: _Place, now: float) -> None:
        place.pipe, other = _PROCESSES.Pipe(duplex=False)
        place.process = _PROCESSES.Process(
            target=work, args=(self._settings, place.number, self._logs, other), name=f"worker-{place.number}"
        )
        place.process.start()
        other.close()
        place.born, place.ready = now, False

    def _look_at(self, place: _Place, now: float) -> None:
        if place.process is None or place.pipe is None:
            return
        self._hear(place)
        if place.process.is_alive():
            return
        code = place.process.exitcode
        place.deaths = place.deaths + 1 if now - place.born < _HEALTHY_SECONDS else 1
        place.stillborn = 0 if place.ready else place.stillborn + 1
        place.due = now + min(2.0 ** (place.deaths - 1) - 1, _LONGEST_PAUSE)
        place.process, place.ready, place.trouble = None, False, None
        place.pipe.close()
        _LOG.warning("a worker died", extra=told(worker=place.number, exit_code=code, deaths=place.deaths))

    def _hear(self, place: _Place) -> None:
        assert place.pipe is not None
        try:
            while place.pipe.poll():
                word, text = place.pipe.recv()
                if word is Word.WRONG:
                    raise UsageError(text)
                place.ready |= word is Word.READY
                if word is Word.TROUBLE:
                    place.trouble = text
        except EOFError:
            return  # it died

    def _look_at_hands(self) -> None:
        """Give back what dead workers had, those of an earlier service among them, and end what takes too much."""
        for hands in read_hands(hands_folder(self._settings)):
            if not hands.alive:
                death = self._killed.get(hands.pid, DIED)
                recover(hands, self._settings.job.ledger, self._settings.policy, death)
                self._killed.pop(hands.pid, None)
            elif any(place.process is not None and place.process.pid == hands.pid for place in self._places):
                death_due = self._excess(hands)
                if death_due is not None and hands.pid not in self._killed:
                    self._killed[hands.pid] = death_due
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
        if limits.memory_bytes is None:
            return None
        try:
            used = psutil.Process(hands.pid).memory_info().rss
        except psutil.NoSuchProcess:
            return None
        if used <= limits.memory_bytes:
            return None
        return Death(
            "too-much-memory",
            f"expected a worker of at most {limits.memory_bytes >> 20} MiB, got {used >> 20}; raise the limit if it is "
            "right",
        )
