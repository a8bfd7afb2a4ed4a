"""Run a bundle over many cases: read ahead, skip what is finished, isolate what fails."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from medkit.data.host_memory import free_memory
from medkit.data.reading import read_channels
from medkit.errors import CaseError, UsageError
from medkit.inference.earlier_results import check_keeps_results
from medkit.inference.memory import check_memory, describe_memory
from medkit.inference.records import (
    DONE,
    FAILED,
    OUTPUT_FOLDERS,
    check_bundle_owns,
    check_name_is_free,
    check_name_leads_inside,
    describe_files,
    finished_record,
    remove_leftovers,
    save_failure,
    save_result,
)
from medkit.inference.report import assemble_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from medkit.data.cases import Case
    from medkit.data.volume import Volume
    from medkit.inference.predictor import LoadedBundle
    from medkit.inference.result import Result

__all__ = ["CaseOutcome", "RunOptions", "leave_out_results", "predict_cases"]

SKIPPED = "skipped"
_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True)
class RunOptions:
    """What a run does beside the label maps.

    Args:
        force: run finished cases again, and replace results of other images or settings.
        pictures: draw one for each case.
        probabilities: write the class probabilities as well.
        uncertainty: write entropy maps, and how sure each structure is.
        features: write the network's last feature maps as well.
    """

    force: bool = False
    pictures: bool = True
    probabilities: bool = False
    uncertainty: bool = False
    features: bool = False

    @property
    def kept(self) -> dict[str, bool]:
        """What a prediction keeps beside its labels."""
        return {
            "probabilities": self.probabilities,
            "uncertainty": self.uncertainty,
            "features": self.features,
        }

    @property
    def wanted(self) -> list[str]:
        """Kinds of output that a finished case has."""
        asked = {"picture": self.pictures, **self.kept}
        return ["labels", *(kind for kind, wanted in asked.items() if wanted)]


@dataclass(frozen=True)
class CaseOutcome:
    """How a case ended: ``done``, ``failed`` (its record tells why), or ``skipped``: it was done before."""

    case: Case
    status: str
    record: dict[str, Any]


@dataclass(frozen=True)
class _Job:
    """A case on its way: read, then segmented; or finished before, or failed at some step."""

    case: Case
    inputs: list[dict[str, str | None]]
    finished: dict[str, Any] | None = None
    volume: Volume | None = None
    read_seconds: float = 0.0
    result: Result | None = None
    error: CaseError | None = None


def leave_out_results(cases: Sequence[Case], folder: Path) -> list[Case]:
    """The cases less those that are results, for a results folder in or above that of the images.

    Raises:
        UsageError: no case is left.
    """
    results = {(folder / inner).resolve() for inner in OUTPUT_FOLDERS}
    left = [case for case in cases if results.isdisjoint(case.paths[0].resolve().parents)]
    if not left:
        raise UsageError(
            f"{folder}: expected images elsewhere, got only some where results are written to "
            f"({', '.join(OUTPUT_FOLDERS)} in it); name other images or another folder"
        )
    return left


def predict_cases(
    bundle: LoadedBundle,
    cases: Sequence[Case],
    folder: Path,
    options: RunOptions | None = None,
    *,
    on_start: Callable[[str], None] = lambda memory: None,
    on_windows: Callable[[int, int], None] | None = None,
    on_case: Callable[[CaseOutcome], None] = lambda outcome: None,
) -> list[CaseOutcome]:
    """Segment cases into a results folder.

    The next image is read and the last result written while one is segmented. The report is assembled at the
    end, also when the run is interrupted.

    Args:
        bundle: loaded once for all.
        cases: see :func:`medkit.data.find_cases`.
        folder: results folder.
        options: see :class:`RunOptions`.
        on_start: called once all is checked, with a line on the memory that the run will take.
        on_windows: called while a case is segmented, with the number of its windows that are done and of all; never
            for a bundle whose inferer is not medkit's.
        on_case: called after each case, in order.

    Raises:
        UsageError: the folder cannot be made, or holds results of other images, settings or bundles under the same
            names, or outputs that would be removed and not made again; a name leads out of it; or the bundle has no
            probabilities or features to give.
        OSError: no record or report can be written.
    """
    run = _Run(bundle, folder, options or RunOptions(), len(cases), on_windows)
    run.prepare(cases)
    on_start(describe_memory(bundle, cases, run.free_bytes, **run.options.kept))
    outcomes = []
    try:
        with ThreadPoolExecutor(1, "reader") as reader, ThreadPoolExecutor(1, "writer") as writer:
            segmented = map(run.segment, _overlapped(reader, run.read, cases))
            for outcome in _overlapped(writer, run.write, segmented):
                outcomes.append(outcome)
                on_case(outcome)
    finally:
        assemble_report(folder)
    return outcomes


class _Run:
    """The three stations of a case, each of which turns what goes wrong into that case's failure."""

    def __init__(
        self,
        bundle: LoadedBundle,
        folder: Path,
        options: RunOptions,
        number: int,
        on_windows: Callable[[int, int], None] | None,
    ) -> None:
        self.bundle, self.folder, self.options, self.number = bundle, folder, options, number
        self.on_windows = on_windows
        self.free_bytes = free_memory()

    def prepare(self, cases: Sequence[Case]) -> None:
        """Check, before any case is run, that all can be."""
        self.bundle.check_asked(**self.options.kept)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{self.folder}: expected a folder to write results to, got one that cannot be made "
                f"({error.strerror})"
            ) from error
        remove_leftovers(self.folder)
        remedy = "choose another output folder, or --force"
        for case in cases:
            check_name_leads_inside(case.name)
            check_bundle_owns(self.folder, case.name, self.bundle.folder.name)
            if not self.options.force:
                check_name_is_free(self.folder, case.name, case.paths, remedy)
        if not self.options.force:
            names, provenance = (case.name for case in cases), self.bundle.provenance
            check_keeps_results(self.folder, names, provenance, self.options.wanted, remedy)

    def read(self, case: Case) -> _Job:
        job = _Job(case, describe_files(case.paths))
        provenance, options = self.bundle.provenance, self.options
        done = finished_record(self.folder, case.name, job.inputs, provenance, options.wanted)
        if done is not None and not options.force:
            return replace(job, finished=done)
        try:
            check_memory(self.bundle, case, self.free_bytes, self.number, **options.kept)
            begin = time.perf_counter()
            volume = read_channels(case.paths, self.bundle.arrays)
            return replace(job, volume=volume, read_seconds=round(time.perf_counter() - begin, 4))
        except Exception as error:
            return replace(job, error=_as_case_error(error, case, "reading"))

    def segment(self, job: _Job) -> _Job:
        if job.volume is None:
            return job
        try:
            result = self.bundle.predict_volume(job.volume, **self.options.kept, on_windows=self.on_windows)
            seconds = {"read": job.read_seconds, **result.seconds}
            notes = (*result.notes, *self.bundle.notes_on(job.inputs))
            return replace(job, volume=None, result=replace(result, seconds=seconds, notes=notes))
        except Exception as error:
            return replace(job, volume=None, error=_as_case_error(error, job.case, "segmenting"))

    def write(self, job: _Job) -> CaseOutcome:
        if job.finished is not None:
            return CaseOutcome(job.case, SKIPPED, job.finished)
        try:
            return self._write_result(job) if job.result is not None else self._write_failure(job, job.error)
        except Exception as error:
            return self._write_failure(job, _as_case_error(error, job.case, "writing"))

    def _write_result(self, job: _Job) -> CaseOutcome:
        assert job.result is not None
        picture = self.options.pictures
        record = save_result(job.result, self.folder, job.case.name, picture=picture, inputs=job.inputs)
        return CaseOutcome(job.case, DONE, record)

    def _write_failure(self, job: _Job, error: CaseError | None) -> CaseOutcome:
        assert error is not None
        record = save_failure(error, job.case, self.folder, self.bundle.provenance, job.inputs)
        return CaseOutcome(job.case, FAILED, record)


def _as_case_error(error: Exception, case: Case, station: str) -> CaseError:
    """The case's failure, without the traceback: that would keep the images in it alive."""
    if isinstance(error, CaseError):
        return CaseError(error.code, str(error))
    line = " ".join(f"{type(error).__name__}: {error}".split())
    return CaseError(f"{station}-failed", f"{case.paths[0]}: {station} failed: {line}")


def _overlapped(executor: Executor, function: Callable[[_In], _Out], items: Iterable[_In]) -> Iterator[_Out]:
    """``map`` that works on one item while the consumer has the one before; nothing piles up."""
    waiting: deque[Future[_Out]] = deque()
    for item in items:
        waiting.append(executor.submit(function, item))
        del item  # or it would live on while the next one is made
        if len(waiting) > 1:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
