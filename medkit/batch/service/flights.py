"""What a worker has in its hands, written down, so that others can judge by it when the worker is killed.

The file is one of a few names and hashes, in the folder for what may be lost: where it is gone, leases run out.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from threading import Condition
from typing import TYPE_CHECKING

import psutil

from medkit.batch.ledger import Claim, Stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Flight", "FlightBoard", "Hands", "read_hands"]

_SUFFIX, _UNFINISHED = ".json", ".part"


@dataclass(frozen=True)
class Flight:
    """A claimed study in the hands of a worker.

    Args:
        claim: the right to it.
        stage: what is being done with it; ``None`` while it waits for the next stage.
        since: seconds since 1970.
    """

    claim: Claim
    stage: str | None
    since: float


@dataclass(frozen=True)
class Hands:
    """What a worker had written down.

    Args:
        owner: its name in the ledger.
        pid: its process.
        started: when that began, which tells it from a later process of the same number.
        stopping: it was asked to end: what becomes of it is no study's fault.
        flights: studies in its hands.
        path: of the file.
    """

    owner: str
    pid: int
    started: float
    stopping: bool
    flights: tuple[Flight, ...]
    path: Path

    @property
    def alive(self) -> bool:
        """Whether the worker lives."""
        try:
            process = psutil.Process(self.pid)
            return process.create_time() == self.started and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def suspects(self) -> list[Flight]:
        """Of a worker that died without being asked to: those that may have killed it.

        What waits has done nothing. Of what is being worked on nobody knows which it was; that it was a delivery is
        believed only where nothing was being made.
        """
        if self.stopping:
            return []
        at_work = [flight for flight in self.flights if flight.stage is not None]
        return [flight for flight in at_work if flight.claim.stage is Stage.MAKE] or at_work


class FlightBoard:
    """Write down what this process has in its hands; used by all threads of a worker.

    Args:
        folder: of the files of all workers; made where there is none.
        owner: name of this one.
        clock: seconds since 1970.
    """

    def __init__(self, folder: Path, owner: str, clock: Callable[[], float] = time.time) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = folder / f"{owner}{_SUFFIX}"
        self._owner, self._clock = owner, clock
        self._started = psutil.Process().create_time()
        self._stopping = False
        self._flights: dict[tuple[str, int], Flight] = {}
        self._changed = Condition()
        with self._changed:
            self._write()

    def note(self, claim: Claim, stage: str | None) -> None:
        """Say what is being done with a study from now on; ``None``: it waits."""
        with self._changed:
            self._flights[claim.study, claim.token] = Flight(claim, stage, self._clock())
            self._write()

    def drop(self, claim: Claim) -> None:
        """Say that a study is out of our hands."""
        with self._changed:
            self._flights.pop((claim.study, claim.token), None)
            self._write()
            self._changed.notify_all()

    def stop(self) -> None:
        """Say that this worker was asked to end."""
        with self._changed:
            self._stopping = True
            self._write()

    def wait_alone(self, claim: Claim) -> None:
        """Wait until this study is the only one."""
        with self._changed:
            self._changed.wait_for(lambda: self._flights.keys() <= {(claim.study, claim.token)})

    def wait_gone(self, claim: Claim) -> None:
        """Wait until this study is out of our hands."""
        with self._changed:
            self._changed.wait_for(lambda: (claim.study, claim.token) not in self._flights)

    def close(self) -> None:
        """Remove the file: this worker ended well."""
        with self._changed:
            self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        content = {
            "owner": self._owner,
            "pid": os.getpid(),
            "started": self._started,
            "stopping": self._stopping,
            "flights": [asdict(flight) for flight in self._flights.values()],
        }
        # Not synced: after a power cut leases have run out anyway.
        unfinished = self.path.with_suffix(f".{os.getpid()}{_UNFINISHED}")
        unfinished.write_text(json.dumps(content), encoding="utf-8")
        unfinished.replace(self.path)


def read_hands(folder: Path) -> list[Hands]:
    """What all workers have written down; a file that a power cut damaged is passed over and removed.

    So is what workers that are no more had written half, or a full disk had kept them from writing.
    """
    for left in folder.glob(f"*{_UNFINISHED}"):
        pid = left.stem.rpartition(".")[2]
        if not (pid.isdecimal() and psutil.pid_exists(int(pid))):
            left.unlink(missing_ok=True)
    found = []
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            flights = tuple(_flight(flight) for flight in content.pop("flights"))
            found.append(Hands(**content, flights=flights, path=path))
        except FileNotFoundError:
            continue  # that worker ended
        except (ValueError, KeyError, TypeError):
            path.unlink(missing_ok=True)
    return found


def _flight(content: dict[str, object]) -> Flight:
    claim = dict(content["claim"])  # type: ignore[call-overload]
    return Flight(Claim(**{**claim, "stage": Stage(claim["stage"])}), content["stage"], content["since"])  # type: ignore[arg-type]
