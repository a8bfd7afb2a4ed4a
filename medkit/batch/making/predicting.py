"""The second stage: from volumes to labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medkit.data.grid import Grid
from medkit.data.volume import Volume

if TYPE_CHECKING:
    from medkit.batch.ledger import Claim
    from medkit.batch.making.bundles import BundleShelf
    from medkit.batch.making.context import MakingContext
    from medkit.batch.making.reading import JobRead, StudyRead
    from medkit.dicom.result import SeriesVolume
    from medkit.dicom.writing.maker import Maker
    from medkit.inference.result import Result

__all__ = ["JobPredicted", "StudyPredicted", "as_image", "predict_job", "predict_study"]


@dataclass(frozen=True, eq=False)
class JobPredicted:
    """The labels of a job.

    Args:
        rule: by which it was chosen.
        source: the volume that they are about: of several channels the first.
        result: the labels.
        maker: what made them.
        notes: for the report.
        channels: names of the volumes that are the other channels.
    """

    rule: str
    source: SeriesVolume
    result: Result
    maker: Maker
    notes: tuple[str, ...]
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class StudyPredicted:
    """A study with its labels; ``refused`` as :class:`medkit.batch.making.StudyRead` has it."""

    claim: Claim
    jobs: tuple[JobPredicted, ...]
    refused: str | None


def predict_study(read: StudyRead, context: MakingContext) -> StudyPredicted:
    """Run the bundles of a study, one job after another.

    Labels are those that ``medkit predict`` gives for the volumes as ``medkit dicom convert`` writes them.

    Raises:
        CaseError: a volume is unfit for its bundle, the bundle abstains, or a step of it failed.
        UsageError: a bundle cannot be loaded, or the rule's inputs are not its own.
    """
    jobs = tuple(predict_job(job, read.notes, context.shelf) for job in read.jobs)
    return StudyPredicted(read.claim, jobs, read.refused)


def predict_job(read: JobRead, notes: tuple[str, ...], shelf: BundleShelf) -> JobPredicted:
    """Run the bundle of one job; see :func:`predict_study`.

    Args:
        read: the job and its volumes.
        notes: for the report, besides the result's own.
        shelf: of bundles.
    """
    with shelf.lock:
        shelved = shelf.take(read.job.bundle)
        sources = [read.volumes[name] for name in shelved.order(read.volumes)]
        result = shelved.predict([as_image(source) for source in sources])
    channels = tuple(source.name for source in sources[1:])
    return JobPredicted(read.job.rule, sources[0], result, shelved.maker, (*result.notes, *notes), channels)


def as_image(source: SeriesVolume) -> Volume:
    """A volume of a series as bundles take it, and figures draw it; its name holds nothing of a patient."""
    columns, rows, slices = source.array.shape
    return Volume(source.array, Grid((columns, rows, slices), source.affine), f"series {source.name}")
