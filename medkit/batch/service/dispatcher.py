"""A worker that has studies made on a cluster: it claims, waits, publishes and delivers, and makes nothing itself.

It is the service's own process, on the machine that has the ledger. What a worker of the cluster leaves in the folder of
a claim becomes a result here alone, and only while that claim holds.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from medkit.batch.cluster.connection import WorkersGone
from medkit.batch.cluster.fitness import traits
from medkit.batch.cluster.order import BEGUN, ENDED, SLOW, Order, Outcome, OutcomeKind, Terms, Work
from medkit.batch.ledger import LeaseLost, State
from medkit.batch.making import WRITE, BundleShelf, KnownBundle, ended
from medkit.batch.making.publishing import publishing
from medkit.batch.making.reading import told_of_purge, unless_arriving
from medkit.batch.making.verdicts import Verdict
from medkit.batch.making.writing import Objects, written
from medkit.batch.service.carrier import Carrier
from medkit.batch.service.parts import seen_folder, wanted_key
from medkit.batch.service.recovery import DIED, too_slow
from medkit.data.hashing import hash_files
from medkit.dicom.network.content import note_content

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from medkit.batch.audit import AuditLog
    from medkit.batch.cluster.connection import Cluster
    from medkit.batch.delivery.destinations import Destination
    from medkit.batch.making import MakingContext
    from medkit.batch.making.writing import StudyWritten
    from medkit.batch.service.carrier import Carried
    from medkit.batch.service.flights import FlightBoard
    from medkit.batch.service.settings import Settings

__all__ = ["Dispatcher"]

_UNFIT_SECONDS = 10.0


class Dispatcher(Carrier):
    """Have studies made on a cluster, and deliver them, until told to stop.

    Args:
        context: what making needs; its ledger is the worker's own.
        destinations: by name; none sends nothing.
        audit: of deliveries.
        board: where it is written down what is in the worker's hands.
        cluster: which.
        settings: of the service, with a cluster.
        proven: a worker of this service was ready before: one of the cluster that is unfit is left out then, and does
            not keep the others from work.
    """

    def __init__(
        self,
        context: MakingContext,
        destinations: Mapping[str, Destination],
        audit: AuditLog,
        board: FlightBoard,
        cluster: Cluster,
        settings: Settings,
        proven: bool = False,
    ) -> None:
        assert settings.cluster is not None
        super().__init__(context, destinations, audit, board, settings.cluster.studies)
        self._cluster, self._settings, self._count = cluster, settings, settings.cluster.studies
        self._seen, self._proven = seen_folder(settings), proven
        self._terms: Terms | None = None

    def prepare(self) -> None:
        """Load each bundle here to know it, and join the cluster; results of before are delivered meanwhile.

        Raises:
            UsageError: a bundle cannot be used, or a worker of the cluster is unfit at the first start.
        """
        settings, context = self._settings, self._context
        work = Work(context.rules, context.outputs, context.limits, dict(settings.bundles), settings.device)
        # This machine need not have the device of the cluster's.
        shelf = BundleShelf(work.bundles, "cpu" if work.device else None)
        self._tell_bundles(replace(context, shelf=shelf).check())
        self._terms = Terms(
            spool=str(self._seen.spool),
            traits=traits() | wanted_key(settings),
            makers={rule.bundle: shelf.take(rule.bundle).maker.identity for rule in context.rules},
            stage_seconds=settings.limits.stage_seconds,
            memory_bytes=settings.limits.memory_bytes,
            work=work.packed(),
        )
        self._start(self._deliver)
        try:
            self._cluster.open(self._stop, refuse=not self._proven)
        except BaseException:
            self.stop()
            self._join()
            raise

    def run(self) -> None:
        """Work; returns after :meth:`stop`, when nothing is in hand any more."""
        self._run([self._tend], self._dispatch)
        self._cluster.close()

    def _tend(self) -> None:
        while not self._stop.is_set():
            self._stop.wait(self._cluster.tend())

    def _dispatch(self) -> None:
        with ThreadPoolExecutor(self._count) as pool:

            def send(carried: Carried[None]) -> None:
                pool.submit(self._or_die, partial(self._make, carried))

            self._claim(send)

    def _may_claim(self) -> bool:
        return self._cluster.ready

    def _make(self, carried: Carried[None]) -> None:
        try:
            made = self._made(carried)
        except Exception as error:
            self._end(carried, ended(carried.claim, error, self._ledger))
        else:
            self._finish(carried, made)

    def _made(self, carried: Carried[None]) -> StudyWritten:
        """The results of a study in their place; raises what :func:`medkit.batch.making.write_study` does."""
        claim = carried.claim
        with publishing(self._context.results, claim) as folder:
            outcome = self._outcome(carried, folder)
            self._board.note(claim, WRITE)
            for stage, seconds in outcome.seconds.items():
                self._ledger.timed(claim, stage, seconds)
            _check_came(outcome, folder)
            for mark in (BEGUN, SLOW, ENDED):
                (folder / mark).unlink(missing_ok=mark is ENDED)
            self._ledger.heartbeat(claim)
        made = tuple((path, uid, content) for path, uid, content, _ in outcome.made)
        makers = tuple(KnownBundle(*maker) for maker in outcome.makers)
        return written(claim, Objects(made, outcome.recipe, makers), outcome.refused, self._context)

    def _outcome(self, carried: Carried[None], folder: Path) -> Outcome:
        """What the cluster made of a study.

        Raises:
            Verdict: nothing, and why.
            LeaseLost: the study is no longer this worker's.
        """
        assert self._terms is not None, "it was prepared before it runs"
        claim = carried.claim
        order = Order(
            study=claim.study,
            digest=claim.digest,
            withdrawn=tuple(self._ledger.withdrawn_uids(claim.study)),
            notes=told_of_purge(claim, self._ledger),
            folder=str(self._seen.results / folder.relative_to(self._context.results)),
            terms=self._terms,
        )
        try:
            outcome = self._cluster.run(order, partial(self._look, carried, folder))
        except WorkersGone:
            outcome = self._left_behind(folder)
        if outcome.kind is OutcomeKind.BEGUN:
            outcome = self._left_behind(folder)
        if outcome.kind in (OutcomeKind.UNFIT, OutcomeKind.UNSEEN):
            self._ledger.heartbeat(claim)  # or it is not the worker's fault that it saw no folder
            why = outcome.said or f"expected the folder of the batch at {order.folder}, got none"
            self._cluster.exclude(outcome.worker, why)
            raise _unfit()
        try:
            outcome.raise_verdict()
        except Verdict as verdict:
            raise unless_arriving(verdict, claim.study, self._ledger) from None
        return outcome

    def _left_behind(self, folder: Path) -> Outcome:
        """What a worker made that died before it could tell; raises what its death means where it made nothing."""
        outcome = Outcome.left_in(folder)
        if outcome is None:
            raise self._death(folder)
        return outcome

    def _death(self, folder: Path) -> Verdict:
        """What the end of a worker means for a study: it is blamed where that worker had begun with it."""
        if not (folder / BEGUN).exists():
            said = "its worker ended or could not begin, which was not its fault"
            return Verdict(State.READY, "worker-gone", said, _UNFIT_SECONDS)
        slow = (folder / SLOW).exists() and (folder / SLOW).stat().st_size > 0
        death = too_slow(self._settings.limits.stage_seconds) if slow else DIED
        return Verdict(State.FAILED, death.code, death.reason)

    def _look(self, carried: Carried[None], folder: Path, fit_left: bool) -> None:
        """See whether a study that is on the cluster is still wanted from there; what is begun is waited for."""
        if carried.beat.lost:
            raise LeaseLost(f"study {carried.claim.study}: expected its lease to hold, got one that is over")
        if self._stop.is_set():
            verdict = Verdict(State.READY, "worker-stopped", "its worker was asked to end")
        elif not fit_left:
            verdict = _unfit()
        else:
            return
        if not (folder / BEGUN).exists():
            raise verdict


def _unfit() -> Verdict:
    return Verdict(State.READY, "worker-unfit", "a worker of the cluster is unfit", _UNFIT_SECONDS)


def _check_came(outcome: Outcome, folder: Path) -> None:
    """See that what the worker wrote is what lies here; what it says need then not be found anew to be delivered."""
    for path, _, content, digest in outcome.made:
        if hash_files([folder / path]) != digest:
            raise OSError(f"{path}: expected the file that a worker of the cluster wrote, got another")
        note_content(digest, content)
