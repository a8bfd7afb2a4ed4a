"""The process of a worker: what it may take, when it ends, and what it says."""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import suppress
from enum import StrEnum
from multiprocessing import connection, parent_process
from threading import Lock, Thread, Timer
from typing import TYPE_CHECKING

from medkit.allocator import keep_freed_memory
from medkit.batch.audit import AuditLog
from medkit.batch.ledger import Ledger
from medkit.batch.logs import set_up_logs, silence_libraries
from medkit.batch.memory_limit import limit_memory
from medkit.batch.service.dispatcher import Dispatcher
from medkit.batch.service.flights import FlightBoard
from medkit.batch.service.memory import worker_memory
from medkit.batch.service.parts import make_cluster, make_context, make_destinations
from medkit.batch.service.worker import Worker
from medkit.batch.spool import Spool
from medkit.errors import ExitCode, MedkitError, UsageError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from medkit.batch.logs import LogSettings
    from medkit.batch.service.carrier import Carrier
    from medkit.batch.service.settings import Settings

__all__ = ["Word", "hands_folder", "work"]

_LOG = logging.getLogger(__name__)


class Word(StrEnum):
    """What a worker tells the service."""

    READY = "ready"
    WRONG = "wrong"  # the settings are, as the text says; the worker ends
    ENDING = "ending"  # for another reason, which the text says
    TROUBLE = "trouble"  # nothing is made now, as the text says; no text: it is over


class _Voice:
    """Tell the service something, from any thread."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._lock = pipe, Lock()

    def say(self, word: Word, text: str | None = None) -> None:
        with self._lock, suppress(OSError):  # the service is gone: this worker will notice
            self._pipe.send((word, text))


def work(settings: Settings, number: int, logs: LogSettings, pipe: Connection, proven: bool = False) -> None:
    """What a worker's process does from its beginning to its end.

    Args:
        settings: of the service.
        number: of the worker, from 1.
        logs: where they go.
        pipe: is told pairs of a :class:`Word` and a line for a person, without a patient in it, or ``None``.
        proven: one of the service was ready before: the settings can be used.
    """
    owner = f"worker-{number}-{os.getpid()}"
    set_up_logs(logs, owner, silence_libraries())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the service decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.DONE))  # until there is something to end
    board, voice = FlightBoard(hands_folder(settings), owner), _Voice(pipe)
    try:
        with Ledger(settings.job.ledger, owner, settings.policy) as ledger:
            worker = _open_worker(settings, ledger, board, voice, proven)
            _listen(settings, worker, board)
            worker.prepare()
            voice.say(Word.READY)
            _LOG.info("ready")
            worker.run()
    except MedkitError as error:
        _LOG.error("%s", error)
        voice.say(Word.WRONG if isinstance(error, UsageError) else Word.ENDING, str(error))
        sys.exit(ExitCode.USAGE)
    except Exception as error:
        _LOG.critical("a worker cannot begin", exc_info=True)  # what Python prints goes nowhere
        voice.say(Word.ENDING, f"it could not begin: {type(error).__name__}")
        sys.exit(ExitCode.NONE_SUCCEEDED)
    finally:
        board.close()
    _LOG.info("ended")


def hands_folder(settings: Settings) -> Path:
    """Where workers write down what they have in their hands."""
    return settings.job.work / "workers"


def _open_worker(
    settings: Settings, ledger: Ledger, board: FlightBoard, voice: _Voice, proven: bool
) -> Carrier:
    context = make_context(settings, ledger, Spool(settings.job.spool, settings.spool))
    destinations = {} if settings.shadow else make_destinations(settings)
    given = (context, destinations, AuditLog(settings.job.audit, ledger.owner), board)
    if settings.cluster is not None:
        cluster = make_cluster(settings, lambda trouble: voice.say(Word.TROUBLE, trouble))
        return Dispatcher(*given, cluster, settings, proven)
    _share_cores(settings)
    keep_freed_memory()
    limit_memory(worker_memory(settings), settings.device)
    return Worker(*given)


def _listen(settings: Settings, worker: Carrier, board: FlightBoard) -> None:
    """End when SIGTERM says so, or when the service is no more."""
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    service = parent_process()
    assert service is not None, "a worker is started by a service"

    def watch() -> None:
        connection.wait([service.sentinel])
        board.stop()
        worker.stop()
        last = Timer(settings.limits.stop_seconds, os._exit, [ExitCode.NONE_SUCCEEDED])
        last.daemon = True
        last.start()

    Thread(target=watch, name="service", daemon=True).start()


def _share_cores(settings: Settings) -> None:
    """Leave the other workers their part."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // settings.workers))
