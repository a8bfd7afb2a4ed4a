"""The process of a worker: what it may take, when it ends, and what it says."""

from __future__ import annotations

import logging
import os
import resource
import signal
import sys
from multiprocessing import connection, parent_process
from threading import Thread, Timer
from typing import TYPE_CHECKING

from medkit.batch.audit import AuditLog
from medkit.batch.ledger import Ledger
from medkit.batch.service.flights import FlightBoard
from medkit.batch.service.logs import set_up_logs, silence_libraries
from medkit.batch.service.parts import make_context, make_destinations
from medkit.batch.service.worker import Worker
from medkit.batch.spool import Spool
from medkit.errors import ExitCode, MedkitError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from medkit.batch.service.logs import LogSettings
    from medkit.batch.service.settings import Settings

__all__ = ["hands_folder", "work"]

_LOG = logging.getLogger(__name__)


def work(settings: Settings, number: int, logs: LogSettings, pipe: Connection) -> None:
    """What a worker's process does from its beginning to its end.

    Args:
        settings: of the service.
        number: of the worker, from 1.
        logs: where they go.
        pipe: is told once, when the worker is ready, ``None``, or what is wrong with the settings.
    """
    owner = f"worker-{number}-{os.getpid()}"
    set_up_logs(logs, owner, silence_libraries())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the service decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.DONE))  # until there is something to end
    board = FlightBoard(hands_folder(settings), owner)
    try:
        _limit(settings)
        with Ledger(settings.job.ledger, owner, settings.policy) as ledger:
            worker = _open_worker(settings, ledger, board, owner)
            _listen(settings, worker, board)
            pipe.send(None)
            _LOG.info("ready")
            worker.run()
    except MedkitError as error:
        _LOG.error("%s", error)
        pipe.send(str(error))
        sys.exit(ExitCode.USAGE)
    finally:
        board.close()
    _LOG.info("ended")


def hands_folder(settings: Settings) -> Path:
    """Where workers write down what they have in their hands."""
    return settings.job.work / "workers"


def _open_worker(settings: Settings, ledger: Ledger, board: FlightBoard, owner: str) -> Worker:
    context = make_context(settings, ledger, Spool(settings.job.spool, settings.spool))
    context.check()
    destinations = {} if settings.shadow else make_destinations(settings)
    return Worker(context, destinations, AuditLog(settings.job.audit, owner), board)


def _listen(settings: Settings, worker: Worker, board: FlightBoard) -> None:
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


def _limit(settings: Settings) -> None:
    """Share the cores with the other workers; bound the memory, where the system can."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // settings.workers))
    memory = settings.limits.memory_bytes
    # Not with a GPU, whose driver maps far more than is used; there the service looks at what is used.
    if memory is not None and (settings.device == "cpu" or not torch.cuda.is_available()):
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
