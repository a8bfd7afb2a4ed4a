"""The service's end of a Dask cluster: who is there, who is fit, and studies that go there and come back."""

from __future__ import annotations

import asyncio
import logging
import math
import pickle
import time
from concurrent.futures import CancelledError
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from medkit.batch.cluster.fitness import describe, remove_seals, seal, unlike, wanted_here
from medkit.batch.cluster.task import failed_on, make_study
from medkit.batch.ledger import State
from medkit.batch.logs import told
from medkit.batch.making.verdicts import Verdict
from medkit.errors import MedkitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from concurrent.futures import Future
    from threading import Event

    from distributed import Client, Security
    from tornado.ioloop import IOLoop

    from medkit.batch.cluster.fitness import Question
    from medkit.batch.cluster.order import Order, Outcome
    from medkit.batch.cluster.settings import ClusterSettings

__all__ = ["Cluster", "WorkersGone"]

_AWAY = "cluster-away"
_LOG = logging.getLogger(__name__)
_TICK_SECONDS = 2.0
_LOOK_SECONDS = 0.1
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 60.0
_AGAIN_SECONDS = 60.0  # after which an unfit worker is asked again
_START_SECONDS = 300.0  # in which a cluster may start a worker for a study that waits
_DIGITS = 12


class WorkersGone(MedkitError):
    """The workers of a study are no more, or cannot run it; whether one had begun shows in the folder of the order."""


class Cluster:
    """A cluster, for the threads of one process.

    Args:
        settings: which, and what of it.
        folders: of the batch, as this machine sees them, each with what workers see it as.
        bundles: name in the rules to name or folder of the bundle.
        tell: is given each new line about why the cluster makes nothing, and ``None`` once it does.
        more_wanted: traits that workers need besides those of :func:`medkit.batch.cluster.fitness.wanted_here`.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        folders: Mapping[Path, Path],
        bundles: Mapping[str, str],
        tell: Callable[[str | None], None],
        more_wanted: Mapping[str, str] | None = None,
    ) -> None:
        self._more_wanted = dict(more_wanted or {})
        self._settings, self._folders, self._bundles, self._tell = settings, folders, bundles, tell
        self._client: Client | None = None
        self._lock = Lock()
        self._there: set[str] = set()  # whether fit or not
        self._fit: set[str] = set()
        self._others: set[str] = set()  # without the resources
        self._unfit: dict[str, tuple[str, float]] = {}  # why, and since when
        self._asked: dict[str, Future[str | None]] = {}  # who has not answered yet
        self._orders: dict[str, float] = {}  # that are there, and since when
        self._trouble: str | None = None

    @property
    def ready(self) -> bool:
        """Whether a study may be sent. Workers need not be there: a cluster may start them for it."""
        with self._lock:
            return self._connected() and (bool(self._fit) or not self._unfit)

    def open(self, stop: Event, refuse: bool = True) -> None:
        """Wait for the scheduler, and see whether all workers that are there are fit; return early at ``stop``.

        Args:
            stop: ends the waiting.
            refuse: whether what is wrong is an error; otherwise a worker that is unfit is left out, which the log says,
                and what can be no scheduler is asked for again.

        Raises:
            UsageError: a worker is unfit, or what was named can be no scheduler.
        """
        for folder in self._folders:
            remove_seals(folder)
        while not stop.is_set() and not (self._look(refuse) and not self._asked):
            stop.wait(_LOOK_SECONDS if self._asked else _TICK_SECONDS)
        with self._lock:
            if refuse and self._unfit:
                worker, (why, _) = min(self._unfit.items())
                raise UsageError(f"cluster: worker {worker}: {why}; mend that, and start it anew")

    def tend(self) -> float:
        """See who is there; seconds until the next time."""
        if self._look():
            self._tell_trouble(self._why_nothing())
        return _LOOK_SECONDS if self._asked else _TICK_SECONDS

    def _look(self, refuse: bool = False) -> bool:
        """Whether the scheduler answers; if so, it is known who is there."""
        try:
            client = self._connect()
            if client.status != "running":
                raise ConnectionError("no answer")
            asked = client.scheduler.identity
            known = client.sync(asked, n_workers=-1, callback_timeout=_CONNECT_SECONDS)
        except OSError as error:
            self._tell_trouble(
                f"cluster: expected a scheduler at {self._settings.place}, got: {_line(error)}"
            )
            return False
        except UsageError as error:
            if refuse:
                raise
            # It was right when the service began.
            self._tell_trouble(str(error))
            return False
        try:
            self._see(known["workers"], client)
        except OSError as error:
            got = error.strerror or type(error).__name__
            self._tell_trouble(f"cluster: expected folders of the batch that can be written, got: {got}")
            return False
        return True

    def run(self, order: Order, look: Callable[[bool], None]) -> Outcome:
        """Have a study made; returns when it is.

        Args:
            order: what is to be made.
            look: is called while it lasts, with whether one that is fit is left for it; what it raises takes the study
                back.

        Raises:
            WorkersGone: those that it was for are no more, or the one that got it cannot run it.
            Verdict: the scheduler is away, which is no attempt.
        """
        with self._lock:  # where all are fit, it is for those too that come later
            some = self._unfit or (self._asked and self._fit)
            chosen = frozenset(self._fit) if some else None
            self._orders[order.folder] = time.monotonic()
        try:
            return self._result(self._submit(order, chosen), chosen, look)
        finally:
            with self._lock:
                del self._orders[order.folder]

    def _result(self, future: Any, chosen: frozenset[str] | None, look: Callable[[bool], None]) -> Outcome:
        try:
            while not future.done():
                look(self._fit_left(chosen))
                time.sleep(_LOOK_SECONDS)
            return self._answer(future)
        finally:
            future.release()

    def _answer(self, future: Any) -> Outcome:
        try:
            outcome: Outcome = future.result(timeout=_ANSWER_SECONDS)
        except Exception as error:
            if future.status == "error":
                self._exclude_failed(future, error)
                raise WorkersGone from None
            if isinstance(error, (CancelledError, OSError)):
                raise _away() from None
            raise
        return outcome

    def _exclude_failed(self, future: Any, error: Exception) -> None:
        """Leave out who cannot even import what makes studies: that itself raises nothing."""
        from distributed.scheduler import KilledWorker

        if isinstance(error, KilledWorker):
            return
        got = type(error).__name__
        try:
            workers = future.client.run_on_scheduler(failed_on, future.key, callback_timeout=_CONNECT_SECONDS)
        except Exception:  # it is away, or has no medkit
            workers = []
        for worker in workers:
            self.exclude(
                worker, f"expected a worker that runs studies, got a {got}; install the same medkit there"
            )
        if not workers:
            _LOG.error(
                "the cluster did not run a study, got a %s; install the same medkit with its scheduler", got
            )

    def exclude(self, worker: str, why: str) -> None:
        """Send no more studies to a worker, until it is found fit."""
        with self._lock:
            self._fit.discard(worker)
            before, _ = self._unfit.get(worker, ("", 0.0))
            self._unfit[worker] = why, time.monotonic()
        if why != before:
            _LOG.error("a worker of the cluster is unfit: %s", why, extra=told(worker=worker))

    def close(self) -> None:
        """Leave the cluster; what it still makes for us comes to nothing."""
        for answer in self._asked.values():
            answer.cancel()
        if self._client is not None:
            self._client.close(timeout=_TICK_SECONDS)

    def _submit(self, order: Order, chosen: frozenset[str] | None) -> Any:
        client = self._client
        only = {} if chosen is None else {"workers": sorted(chosen), "allow_other_workers": False}
        # A key of its own for each attempt: one of another batch would be answered with our result.
        key = f"medkit-{order.study[:_DIGITS]}-{uuid4().hex}"
        if client is None:
            raise _away()
        try:
            return client.submit(
                make_study,
                pickle.dumps(order),
                key=key,
                pure=False,
                retries=0,
                resources=dict(self._settings.resources),
                **only,
            )
        except (RuntimeError, OSError):  # the client was closed
            raise _away() from None

    def _fit_left(self, chosen: frozenset[str] | None) -> bool:
        """Whether a study for some workers alone has a fit one among them; those that are no more it cannot wait for."""
        if chosen is None:
            return True
        with self._lock:
            if not chosen & self._there:
                raise WorkersGone
            return bool(chosen & self._fit)

    def _connected(self) -> bool:
        return self._client is not None and self._client.status == "running"

    def _connect(self) -> Client:
        """The client: a new one where the last gave up."""
        if self._client is not None and self._client.status in ("running", "connecting"):
            return self._client
        from distributed import Client

        with self._lock:
            self._client = None
            self._there.clear()
            self._fit.clear()
            self._others.clear()
            self._unfit.clear()
            self._asked.clear()
        try:
            client = Client(
                self._settings.address(),
                security=self._security(),
                timeout=_CONNECT_SECONDS,
                loop=_loop(),
                name="medkit",
                set_as_default=False,
            )
        except (ValueError, RuntimeError) as error:
            raise UsageError(
                f"cluster: expected the address of a scheduler, got {self._settings.place} ({_line(error)})"
            ) from None
        with self._lock:
            self._client = client
        _LOG.info("joined the cluster", extra=told(scheduler=self._settings.place))
        return client

    def _security(self) -> Security | None:
        from distributed import Security

        tls = self._settings.tls
        if tls is None:
            return None
        files = {"tls_ca_file": tls.authority, "tls_client_cert": tls.certificate, "tls_client_key": tls.key}
        named = {name: str(path) for name, path in files.items() if path is not None}
        return Security(require_encryption=True, **named)

    def _see(self, workers: Mapping[str, Mapping[str, Any]], client: Client) -> None:
        """Forget who is gone, ask who is new or was unfit a while ago, and hear those that answered."""
        now = time.monotonic()
        with self._lock:
            self._there = set(workers)
            self._fit &= workers.keys()
            self._others &= workers.keys()
            for known in (self._unfit, self._asked):
                for worker in known.keys() - workers.keys():
                    del known[worker]
            late = {worker for worker, (_, since) in self._unfit.items() if now - since > _AGAIN_SECONDS}
            new = workers.keys() - self._fit - self._others - self._unfit.keys()
        if asked := (new | late) - self._asked.keys():
            wanted = wanted_here(self._question("")) | self._more_wanted
            for worker in asked:
                self._asked[worker] = self._ask(worker, workers[worker], wanted, client)
        for worker in [worker for worker, answer in self._asked.items() if answer.done()]:
            with self._lock:
                answer = self._asked.pop(worker)
            why = None if answer.cancelled() else answer.result()
            if why is not None:  # or it is gone
                self._judge(worker, why, workers[worker])

    def _judge(self, worker: str, why: str, known: Mapping[str, Any]) -> None:
        if why:
            self.exclude(worker, why)
            return
        with self._lock:
            self._unfit.pop(worker, None)
            (self._fit if self._has_resources(known) else self._others).add(worker)
        _LOG.info("a worker of the cluster is fit", extra=told(worker=worker))

    def _question(self, name: str) -> Question:
        return name, tuple(str(seen) for seen in self._folders.values()), dict(self._bundles)

    def _ask(
        self, worker: str, known: Mapping[str, Any], wanted: Mapping[str, str], client: Client
    ) -> Future[str | None]:
        """Ask a worker, beside this thread, why it is unfit; empty where it is not, ``None`` where it is gone.

        Each is asked by itself: one that hangs on a folder keeps nobody else waiting.
        """
        name = uuid4().hex
        question, seals = self._question(name), list[Path]()

        async def ask() -> str | None:
            try:
                asked = client.run(describe, question, workers=[worker], on_error="return")
                answers = await asyncio.wait_for(asked, _ANSWER_SECONDS)
            except TimeoutError:
                return f"expected an answer about its medkit within {_ANSWER_SECONDS:g} s, got none; see its folders"
            except OSError:
                return None
            finally:
                _remove(seals)
            answer = answers.get(worker, OSError())
            if isinstance(answer, OSError):  # its own, or it is gone, which shows in a moment
                await asyncio.sleep(_TICK_SECONDS)
            return _unfit(known, answer, wanted)

        try:
            for folder in self._folders:
                seals.append(seal(folder, name))
        except BaseException:
            _remove(seals)
            raise
        return asyncio.run_coroutine_threadsafe(ask(), _loop().asyncio_loop)  # type: ignore[attr-defined]

    def _has_resources(self, worker: Mapping[str, Any]) -> bool:
        has = worker["resources"]
        return all(has.get(name, 0) >= amount for name, amount in self._settings.resources.items())

    def _why_nothing(self) -> str | None:
        with self._lock:
            if self._fit:
                return None
            if self._unfit:
                worker, (why, _) = min(self._unfit.items())
                return f"cluster: expected fit workers, got none; {worker}: {why}"
            if time.monotonic() - min(self._orders.values(), default=math.inf) < _START_SECONDS:
                return None  # nothing waits, and so nobody need be there, or not for long
        wanted = ", ".join(f"{name}={amount:g}" for name, amount in self._settings.resources.items())
        return f"cluster: expected a worker{f' with {wanted}' if wanted else ''}, got none"

    def _tell_trouble(self, trouble: str | None) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._tell(trouble)
            _LOG.log(
                logging.WARNING if trouble else logging.INFO, "%s", trouble or "the cluster takes studies"
            )


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


@cache
def _loop() -> IOLoop:
    """The event loop of all clients of this process: one that cannot connect leaves its own behind, unclosed."""
    from distributed.utils import LoopRunner

    runner = LoopRunner()
    runner.start()
    loop: IOLoop = runner.loop
    return loop


def _unfit(worker: Mapping[str, Any], answer: Any, wanted: Mapping[str, str]) -> str:
    if worker["nanny"] is None:
        return "expected a worker with a nanny, which starts it again, got one without; leave --no-nanny out"
    if isinstance(answer, BaseException):
        return f"expected an answer about its medkit, got {type(answer).__name__}: {_line(answer)}"
    return unlike(wanted, answer)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _away() -> Verdict:
    return Verdict(State.READY, _AWAY, "the scheduler of the cluster went away")
