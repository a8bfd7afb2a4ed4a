"""What runs on a worker of the cluster: from the stored instances of a study to objects in a folder, or to a verdict.

It needs no ledger. Whether the objects are ever anything is for the service, which alone gives the folder its name.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import time
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from medkit.allocator import give_back_now_and_then, keep_freed_memory
from medkit.batch.cluster.fitness import WELL, condition, key_traits, traits, unlike
from medkit.batch.cluster.machine import fault_behind, store_fault
from medkit.batch.cluster.order import BEGUN, SLOW, Outcome, OutcomeKind
from medkit.batch.cluster.quiet import be_quiet
from medkit.batch.making import PREDICT, READ, WRITE, BundleShelf
from medkit.batch.making.predicting import predict_job
from medkit.batch.making.publishing import sync_all
from medkit.batch.making.reading import Wanted, read_revision
from medkit.batch.making.verdicts import verdict_on
from medkit.batch.making.writing import write_objects
from medkit.batch.memory_limit import limit_memory
from medkit.batch.spool import Spool
from medkit.data.hashing import hash_files
from medkit.errors import MedkitError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medkit.batch.cluster.order import Order, Work

__all__ = ["make"]

# One study at a time in a process, whatever threads it has: one that kills it has no neighbours.
_ALONE = Lock()


class _OtherWise(MedkitError):
    """It is not for this worker to make the study."""

    def __init__(self, kind: OutcomeKind, said: str = "") -> None:
        super().__init__(said)
        self.kind = kind


def make(order: Order) -> Outcome:
    """Make a study; raises nothing, for Dask would write what is raised into its logs."""
    from distributed import get_worker

    be_quiet()
    keep_freed_memory()
    here = get_worker().address
    with _ALONE:
        begun = False
        try:
            with _ended_after(order.terms.stage_seconds, Path(os.devnull)):  # nobody is to blame
                _begin(order)
            begun = True
            outcome = _make(order, here)
        except _OtherWise as other:
            outcome = Outcome(other.kind, here, str(other))
        except Exception as error:
            outcome = _outcome_of(error, order, here)
        if begun and outcome.kind is not OutcomeKind.UNSEEN:
            # The next study may kill this process before Dask has told of this one, which would be blamed.
            with suppress(OSError):  # then Dask alone tells
                outcome.leave(Path(order.folder))
        give_back_now_and_then()
        return outcome


def _outcome_of(error: Exception, order: Order, here: str) -> Outcome:
    if not Path(order.folder).is_dir():
        return Outcome(OutcomeKind.UNSEEN, here)
    if fault := fault_behind(error, Path(order.terms.spool)):
        return Outcome(OutcomeKind.UNFIT, here, fault)
    found = verdict_on(error)
    said = (str(found.state), found.code, str(found), found.delay_seconds)
    return Outcome(OutcomeKind.VERDICT, here, verdict=said)


def _make(order: Order, here: str) -> Outcome:
    store, folder, seconds = Path(order.terms.spool), Path(order.folder), dict[str, float]()
    work, shelf = _unpacked(order.terms.work)
    limit_memory(order.terms.memory_bytes, work.device)
    outputs = work.outputs
    wanted = Wanted(work.rules, outputs.repairs, work.limits, outputs.deidentify is not None)
    with _stage(READ, order, seconds):
        jobs, notes, refused = read_revision(order.study, order.digest, Spool(store, make=False), wanted)
    with _stage(PREDICT, order, seconds):  # a folder that hangs may keep a bundle from being loaded
        for name in dict.fromkeys(job.job.bundle for job in jobs):
            _check_bundle(shelf, name, order)
        predicted = [predict_job(job, (*notes, *order.notes), shelf) for job in jobs]
    with _stage(WRITE, order, seconds):
        objects = write_objects(predicted, folder, outputs, order.withdrawn)
        sync_all(folder)
    made = tuple((*one, str(hash_files([folder / one[0]]))) for one in objects.made)
    makers = tuple((one.name, one.version, one.digest) for one in objects.makers)
    return Outcome(
        OutcomeKind.MADE,
        here,
        made=made,
        recipe=objects.recipe,
        makers=makers,
        refused=refused,
        seconds=seconds,
    )


def _begin(order: Order) -> None:
    """Be fit, and the one attempt that the folder is for: Dask runs a task again whose worker died."""
    differs = unlike(order.terms.traits | WELL, traits() | key_traits() | condition())
    if wrong := differs or store_fault(Path(order.terms.spool)):
        raise _OtherWise(OutcomeKind.UNFIT, wrong)
    try:
        (Path(order.folder) / BEGUN).touch(exist_ok=False)
    except FileExistsError:
        raise _OtherWise(OutcomeKind.BEGUN) from None
    except FileNotFoundError:
        raise _OtherWise(OutcomeKind.UNSEEN) from None
    except OSError as error:
        said = f"expected a folder of the batch that can be written, got: {error.strerror}"
        raise _OtherWise(OutcomeKind.UNFIT, said) from None


@lru_cache(maxsize=1)
def _unpacked(packed: bytes) -> tuple[Work, BundleShelf]:
    """Settings, and the bundles that stay loaded from one study to the next while these are the same."""
    work: Work = pickle.loads(packed)
    return work, BundleShelf(work.bundles, work.device)


def _check_bundle(shelf: BundleShelf, name: str, order: Order) -> None:
    """See that what is loaded here is what the service means; that it cannot be is the worker's fault."""
    try:
        maker = shelf.take(name).maker
    except MedkitError as error:
        raise _OtherWise(OutcomeKind.UNFIT, str(error)) from None
    except Exception as error:  # no study has a part in it
        said = f"expected bundle {name} to load, got a {type(error).__name__}"
        raise _OtherWise(OutcomeKind.UNFIT, said) from None
    if maker.identity != order.terms.makers[name]:
        raise _OtherWise(
            OutcomeKind.UNFIT, f"expected bundle {name} as it was when the service began, got another"
        )


@contextmanager
def _stage(name: str, order: Order, seconds: dict[str, float]) -> Iterator[None]:
    """Time a stage, and end this process when it takes too long."""
    folder = Path(order.folder)
    if not folder.is_dir():  # the service gave the study back, or is no more: nobody wants this
        raise _OtherWise(OutcomeKind.UNSEEN)
    begin = time.perf_counter()
    with _ended_after(order.terms.stage_seconds, folder / SLOW):
        yield
    seconds[name] = time.perf_counter() - begin


@contextmanager
def _ended_after(seconds: float, told: Path) -> Iterator[None]:
    """End this process where a block takes longer, and write to a file where it was: nothing else ends a thread.

    The nanny starts the process again. The clock is one of C, which no Python that hangs keeps from running, and needs
    neither scheduler nor service.
    """
    with told.open("w", encoding="utf-8") as file:
        faulthandler.dump_traceback_later(seconds, exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
