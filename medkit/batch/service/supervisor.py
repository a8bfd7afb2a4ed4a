"""The service itself: it has the sources, the workers and the status, and sees to what nobody else does.

It may be killed at any moment. What it knows stands in the ledger, in the store and in the memories of sources; workers
whose service is gone end by themselves, and the next service goes on.
"""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from multiprocessing import Pipe, connection
from threading import Event, Thread
from typing import TYPE_CHECKING

from medkit.batch.audit import AuditError, AuditLog, Head
from medkit.batch.delivery.troubles import NOT_SHOWN, worst
from medkit.batch.delivery.withdrawing import withdraw_due
from medkit.batch.intake.folder import FolderTaken, take_folder
from medkit.batch.intake.quiet import settle
from medkit.batch.intake.take import Intake
from medkit.batch.ledger import Ledger, LedgerError, State
from medkit.batch.logs import LogSettings, told
from medkit.batch.making import remove_debris
from medkit.batch.notices import Kind, Notices
from medkit.batch.service.audit_check import AuditCheck
from medkit.batch.service.callers import RejectedCallers
from medkit.batch.service.chores import Chore
from medkit.batch.service.crew import Crew
from medkit.batch.service.keeping import purge_old
from medkit.batch.service.parts import (
    folder_faults,
    make_counts,
    make_destinations,
    make_node,
    missing_folders,
    wanted_mode,
)
from medkit.batch.service.recovery import service_name
from medkit.batch.service.sources import count_chores, open_sources
from medkit.batch.spool import Spool
from medkit.batch.status.server import StatusServer
from medkit.batch.status.service_record import ServiceRecord
from medkit.batch.yaml_faults import raise_faults
from medkit.dicom.network.archive import DOWN
from medkit.dicom.sources import is_empty
from medkit.errors import MedkitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from medkit.batch.service.settings import Settings

__all__ = ["Supervisor"]

_LOG = logging.getLogger(__name__)
_TICK_SECONDS = 1.0
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_OPEN = (State.READY, State.RUNNING, State.FAILED, State.MADE, State.DELIVERING)


class Supervisor:
    """Run a batch; one at a time.

    Args:
        settings: what is to be done.
        logs: where workers write theirs to; this process's own are set up by the caller.

    Raises:
        UsageError: another service has the folder, it lies in that of another batch, or its results were made as a
            shadow or about nobody and are not to be made so any more, or the other way round; or a destination cannot
            be used, or is a folder that is not there.
        LedgerError, AuditError: the ledger, or the audit log, cannot be gone on with.
    """

    def __init__(self, settings: Settings, logs: LogSettings | None = None) -> None:
        self._settings = settings
        self._open = ExitStack()
        self._heard, self._bell = Pipe(duplex=False)
        self._rings = 0
        # Later that is a trouble which passes: what was there at the start comes back.
        raise_faults(f"{'.'.join(map(str, place))}: {fault}" for place, fault in missing_folders(settings))
        with self._open:
            self._hold_folder()
            job = settings.job
            self._notices = Notices(job.notices)
            self._notices.clear_all()
            self.ledger = self._open.enter_context(Ledger(job.ledger, service_name(), settings.policy))
            self._audit = AuditLog(job.audit, service_name())
            with suppress(OSError):  # a full disk passes
                self._take_up()
            if self.ledger.run_as(mode := wanted_mode(settings)):
                self._audit.append("mode-changed", code=f"about-{'nobody' if mode.about else 'patients'}")
            self._auditing = AuditCheck(self._audit, self._notices)
            self._intake = Intake(self.ledger, Spool(job.spool, settings.spool), self._audit)
            self._counts = make_counts(settings, self._intake)
            self._rejected = [
                RejectedCallers(f"node-{number}", node.ae_title, self._notices)
                for number, node in enumerate(settings.nodes, 1)
            ]
            self._crew = Crew(settings, logs or LogSettings(), self._notices)
            self._destinations = {} if settings.shadow else make_destinations(settings)
            self._record = ServiceRecord(settings.thresholds, settings.spool.free_bytes, time.time())
            self._record.write(job)
            self._open = self._open.pop_all()

    @property
    def audit_broken(self) -> str | None:
        """What is wrong with the audit log's chain, and what to do; ``None`` where it held at the last look."""
        return self._auditing.broken

    def stop(self) -> None:
        """End in good order; called twice: end at once. May be called in a signal, and by any thread."""
        self._rings += 1
        self._bell.send_bytes(b"!")

    def close(self) -> None:
        """Let go of the folder."""
        self._notices.clear_all()
        replace(self._record, ended=time.time()).write(self._settings.job)
        self._open.close()

    def serve(self) -> None:
        """Take, make and deliver studies until :meth:`stop`.

        Raises:
            UsageError: a source, a destination, a bundle or an address to listen on cannot be used.
        """
        with self._working(self._sources(), self._listening(), self._auditing.finish):
            _LOG.info("started", extra=told(workers=self._crew.size, shadow=self._settings.shadow or None))
            while not self._asked_to_stop():
                self._tend()
            _LOG.info("stopping")
        _LOG.info("stopped")

    def run_once(
        self, inputs: Sequence[Path], progress: Callable[[int, int, Mapping[State, int]], None]
    ) -> list[FolderTaken] | None:
        """Take all studies of some folders and zips, and end when all are ended.

        Args:
            inputs: folders, zips and files.
            progress: called about every second: files taken, files found, and how many studies are in which state.

        Returns:
            What became of each input; ``None`` where :meth:`stop` was called before the end.

        Raises:
            UsageError: there is no file in an input, a bundle or destination cannot be used, or no cluster is where one
                was named.
            MedkitError: workers die before they are ready, or the audit log takes no line.
        """
        for one in inputs:
            _check_not_empty(one)
        taking = _Taking(inputs, self._intake)
        ending = ExitStack()
        ending.callback(taking.stop)
        chores = [
            Chore("withdrawing", self._withdraw, self._notices),
            *self._audit_chores(),
        ]
        # What all of the audit log is found to be is a part of what becomes of the call.
        with self._working(chores, ending, self._auditing.once):
            taking.start()
            while not taking.ended or self._any_open():
                self._tend()
                if (cause := self._crew.hopeless) is not None:
                    raise MedkitError(
                        f"workers: expected them to start, got one that dies each time ({cause}); see the log"
                    )
                if self._crew.unreached:
                    raise UsageError(self._crew.unreached)
                if self._auditing.stopped is not None:
                    raise AuditError(f"the audit log: {self._auditing.stopped}; then the same call goes on")
                progress(*taking.files, self.ledger.counts())
                if self._asked_to_stop():
                    return None
        progress(*taking.files, self.ledger.counts())
        return taking.result()

    def _take_up(self) -> None:
        """See that the audit log takes lines, for nothing is done without, and tell where it begins anew."""
        known = sum(count for state, count in self.ledger.counts().items() if state is not State.RECEIVING)
        if self._audit.end() == Head() and known:
            _LOG.warning(
                "the audit log has no line, though the ledger knows of studies: a new chain begins; the lines of before "
                "are where its folder was moved, or somebody removed them",
                extra=told(folder=str(self._settings.job.audit), studies=known),
            )
            self._audit.append("chain-begun", count=known)
        self._audit.take_up()

    def _hold_folder(self) -> None:
        """Have the folder for ourselves, and use it always for the same."""
        # A refusal leaves nothing behind.
        raise_faults(fault for _, fault in folder_faults(self._settings))
        self._settings.job.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._open.enter_context(self._settings.job.hold())

    @contextmanager
    def _working(
        self, chores: Sequence[Chore], bringing: ExitStack, last_look: Callable[[], object]
    ) -> Iterator[None]:
        """Have workers, chores and what brings studies while the block runs, and end all of them together.

        Then nobody appends to the audit log any more, and it is looked at for the last time.
        """
        try:
            remove_debris(self._settings.job.results, self.ledger)
            self._intake.spool.sweep(0.0)  # the folder is ours: what is half-written there, nobody writes
            for chore in chores:
                chore.start()
            self._tend()
            yield
        finally:
            deaf = Thread(target=bringing.close, name="closing")
            deaf.start()
            for chore in chores:
                chore.stop()
            self._crew.stop(lambda: self._rings > 1)
            deaf.join()
            for chore in chores:
                if not chore.join(0.0 if self._rings > 1 else self._settings.limits.stop_seconds):
                    _LOG.warning("did not end in time", extra=told(chore=chore.name))
            if self._rings <= 1:
                with suppress(OSError):
                    last_look()

    def _sources(self) -> list[Chore]:
        chores, memories = open_sources(self._settings, self._intake)
        for memory in memories:
            self._open.callback(memory.close)
        chores += count_chores(self._counts, self._settings, self._intake)
        chores += [
            Chore("settling", self._settle, self._notices),
            Chore("keeping", self._keep, self._notices),
            *self._audit_chores(),
            Chore("callers", self._tell_rejected, self._notices),
        ]
        if not self._settings.shadow:
            chores.append(Chore("withdrawing", self._withdraw, self._notices))
        return chores

    def _audit_chores(self) -> list[Chore]:
        return [
            Chore("auditing", self._auditing.once, self._notices),
            Chore("audit-lines", self._auditing.watch, self._notices),
        ]

    def _listening(self) -> ExitStack:
        """What listens: nodes and the status."""
        settings = self._settings
        with ExitStack() as stack:
            if settings.status_port is not None:
                status = StatusServer(
                    settings.job,
                    settings.thresholds,
                    settings.status_host,
                    settings.status_port,
                    problems=self._crew.problems,
                    kept_free_bytes=settings.spool.free_bytes,
                    names=settings.status_names,
                )
                stack.enter_context(status)
                _LOG.info("status at %s", status.url)
            for one, rejected in zip(settings.nodes, self._rejected, strict=True):
                node = make_node(one, self._intake, self._counts, rejected.add)
                node.start()
                stack.callback(node.stop, settings.limits.stop_seconds)
                _LOG.info("listening", extra=told(ae_title=one.ae_title, port=node.port))
            return stack.pop_all()

    def _tend(self) -> None:
        try:
            self._crew.tend()
        except LedgerError:
            _LOG.error("the ledger cannot be written now", exc_info=True)

    def _asked_to_stop(self) -> bool:
        """Wait until asked to stop, until a worker dies, or for a second; whether it was the first."""
        connection.wait([self._heard, *self._crew.sentinels], _TICK_SECONDS)
        return self._rings > 0

    def _any_open(self) -> bool:
        """Whether a study is on its way; those of which files are still awaited are not."""
        return any(not one.arriving for state in _OPEN for one in self.ledger.studies(state))

    def _tell_rejected(self) -> float:
        return min((one.once() for one in self._rejected), default=_HOUR)

    def _settle(self) -> float:
        if self._auditing.stopped is None:
            settle(self._intake, self._settings.quiet_seconds)
        return _TICK_SECONDS

    def _withdraw(self) -> float:
        results = self._settings.job.results
        troubles = withdraw_due(self.ledger, self._destinations, results, self._audit)
        for trouble in troubles:
            _LOG.warning(
                "a result that no longer counts is not withdrawn: %s",
                trouble,
                extra=told(code=trouble.code, destination=trouble.destination),
            )
        if troubles:
            trouble = worst(troubles)
            message = f"{len(troubles)} of the results that no longer count not withdrawn: {trouble}"
            passing = trouble.code in (DOWN, NOT_SHOWN)
            self._notices.put(Kind.WITHDRAWAL, "withdrawing", trouble.code, message, passing=passing)
        else:
            self._notices.clear(Kind.WITHDRAWAL, "withdrawing")
        return _MINUTE

    def _keep(self) -> float:
        """Take back what silent workers hold, and remove what is older than it may be."""
        self.ledger.expire()
        remove_debris(self._settings.job.results, self.ledger)
        kept_seconds = self._settings.retention_days * _DAY
        gone = purge_old(self._settings.job, self.ledger, self._intake.spool, self._audit, kept_seconds)
        for event, studies in gone.items():
            if studies:
                _LOG.info(event.replace("-", " "), extra=told(studies=len(studies)))
        return min(_HOUR, kept_seconds)


def _check_not_empty(source: Path) -> None:
    if is_empty(source):
        raise UsageError(
            f"{source}: expected studies, got no file at all; check the path, and what is mounted there"
        )


class _Stopped(Exception):
    """No more is to be taken."""


class _Taking:
    """Takes inputs in a thread, so that workers are tended meanwhile. It is no loss to end in its midst."""

    def __init__(self, inputs: Sequence[Path], intake: Intake) -> None:
        self._inputs, self._intake = inputs, intake
        self._thread = Thread(target=self._run, name="taking", daemon=True)
        self._taken: list[FolderTaken] = []
        self._error: Exception | None = None
        self._stop = Event()
        self._before = 0
        self.files = (0, 0)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End behind the file that is being taken."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def ended(self) -> bool:
        if self._error is not None:
            raise self._error
        return not self._thread.is_alive()

    def result(self) -> list[FolderTaken]:
        return self._taken

    def _run(self) -> None:
        try:
            for one in self._inputs:
                self._before = self.files[1]
                self._taken.append(take_folder(one, self._intake, progress=self._show, nobody_counts=True))
        except _Stopped:
            pass
        except Exception as error:
            self._error = error  # raised where it is waited for

    def _show(self, done: int, total: int) -> None:
        if self._stop.is_set():
            raise _Stopped
        self.files = (self._before + done, self._before + total)
